//! What becomes of the lines that wait when no more packets come.

use super::{Echo, Settings, Step};
use crate::capture::tally::Fault;

impl Echo {
    /// No more packets come. `lost`: no echo of the lines that wait will come, as the server
    /// has closed, or had time enough.
    pub fn finish(&mut self, settings: &Settings, lost: bool) {
        // A hole at the end of a stream may be lines that the other direction has.
        let request = self.request_lines.finish(settings.key);
        if let Some(request) = request.filter(|line| line.damaged) {
            self.push_request(&request);
        }
        let reply = self.reply_lines.finish(settings.key);
        if let Some(reply) = reply.filter(|line| line.damaged) {
            self.push_reply(settings, reply);
        }
        self.advance(settings);
        if let Some(region) = self.region
            && self.step != Step::Lost
        {
            // The end of a damaged part did not come.
            self.tally.damaged += u64::from(region.is_damaged());
            while let Some(reply) = self.replies.pop_front() {
                self.count_unmatched(settings, &reply);
            }
            self.tally.not_compared += self.requests.len() as u64;
            self.requests.clear();
        }
        let is_certain = !self.began_in_the_middle;
        for (number, _) in std::mem::take(&mut self.overtaken) {
            self.tally.fault(number, Fault::Lost);
        }
        for (at, request) in std::mem::take(&mut self.requests).into_iter().enumerate() {
            if request.is_damaged() || self.step == Step::Searching {
                self.tally.not_compared += 1;
            } else if lost && is_certain {
                self.tally.fault(self.number + at as u64, Fault::Lost);
            } else {
                self.tally.pending += 1;
            }
        }
        for reply in std::mem::take(&mut self.replies) {
            if reply.damaged || !is_certain {
                self.count_unmatched(settings, &reply);
            } else {
                self.tally.count(settings, self.number, &reply);
                self.tally.fault(self.number, Fault::Unexpected);
            }
        }
    }
}
