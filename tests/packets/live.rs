//! A pipe: rows as packets come, and the clock as the end of the capture.
