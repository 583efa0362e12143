//! The man pages, as formatters read them.

use crate::repository;
use crate::run::shell;

const PAGES: [&str; 2] = ["deploy/man/echoline.1", "deploy/man/echoline-ping.1"];

#[test]
#[ignore = "needs mandoc and groff"]
fn formatters_have_no_warning_about_the_man_pages() {
    for page in PAGES {
        let page = repository(page);
        let page = page.to_str().unwrap();
        let warnings = shell("groff -man -ww -z \"$1\" 2>&1", &[page]);
        assert_eq!(warnings, "");
        // A date would be that of a build.
        let lint = "mandoc -T lint -W warning \"$1\" | grep -v 'missing date' || true";
        assert_eq!(shell(lint, &[page]), "");
    }
}

#[test]
#[ignore = "needs mandoc and col"]
fn man_pages_have_the_sections_that_readers_look_for() {
    for page in PAGES {
        let text = shell(
            "mandoc -T ascii \"$1\" | col -b",
            &[repository(page).to_str().unwrap()],
        );
        let is_heading = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
        let headings: Vec<_> = text.lines().filter(is_heading).collect();
        let wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT"];
        assert!(headings.starts_with(&wanted), "{headings:?}");
        for wanted in ["EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(headings.contains(&wanted), "{headings:?}");
        }
    }
}
