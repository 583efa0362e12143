//! Links in Markdown pages.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The text of a page without its fenced blocks.
pub fn prose(page: &Path) -> String {
    let mut inside = false;
    let text = fs::read_to_string(page).unwrap();
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Every text between `before` and `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let rests = text.split(before).skip(1);
    rests
        .filter_map(|rest| Some(rest.split_once(after)?.0))
        .collect()
}

/// The targets of the links and pictures of a page: `[text](target)`, `[name]: target`,
/// and attributes of HTML tags.
fn targets(prose: &str) -> Vec<&str> {
    let mut targets = between(prose, "](", ")");
    for attribute in ["src=\"", "srcset=\"", "href=\""] {
        targets.extend(between(prose, attribute, "\""));
    }
    targets.extend(prose.lines().filter_map(|line| {
        let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some(target)
    }));
    targets
}

/// The anchors of a page's headings, as GitHub and GitLab form them.
fn anchors(page: &Path) -> HashSet<String> {
    let mut seen = HashMap::new();
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let is_kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
            let anchor: String = text.chars().filter(is_kept).collect();
            let anchor = anchor.replace(' ', "-");
            let earlier: &mut usize = seen.entry(anchor.clone()).or_default();
            *earlier += 1;
            match *earlier {
                1 => anchor,
                n => format!("{anchor}-{}", n - 1),
            }
        })
        .collect()
}

/// Whether a file exists. Those of the bench, a package of its own, are not in the published
/// package.
#[must_use]
pub fn exists(path: &Path) -> bool {
    let is_bench = path.iter().any(|part| part == "benches");
    let has_bench = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches")
        .exists();
    path.exists() || (is_bench && !has_bench)
}

/// Why a link of `page` leads nowhere.
fn fault(page: &Path, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    if !exists(&file) {
        return Some("no such file");
    }
    let is_missing = !anchor.is_empty() && !anchors(&file).contains(anchor);
    is_missing.then_some("no such heading")
}

/// The number of links in `pages`, and those that lead nowhere.
pub fn broken_links(pages: &[PathBuf]) -> (usize, Vec<String>) {
    let (mut checked, mut faults) = (0, Vec::new());
    for page in pages {
        for target in targets(&prose(page)) {
            checked += 1;
            if let Some(fault) = fault(page, target) {
                faults.push(format!("{}: {target}: {fault}", page.display()));
            }
        }
    }
    (checked, faults)
}
