//! The documents: links lead to files and headings that exist, and the tests and files
//! that they name exist too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Pages in which a code span with `::` is a test in `tests/daemon/`, and how many such
/// spans they have at least.
const PAGES_THAT_NAME_TESTS: [(&str, usize); 3] = [
    ("docs/behaviour.md", 11),
    ("docs/reliability.md", 11),
    ("docs/scaling.md", 4),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all Markdown files, without those in `target` and in hidden folders.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.contains(&root().join("README.md")));
    pages
}

/// The text of a page without its fenced blocks.
fn prose(page: &Path) -> String {
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
fn exists(path: &Path) -> bool {
    let is_bench = path.iter().any(|part| part == "benches");
    path.exists() || (is_bench && !root().join("benches").exists())
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

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let (mut checked, mut faults) = (0, Vec::new());
    for page in pages() {
        for target in targets(&prose(&page)) {
            checked += 1;
            if let Some(fault) = fault(&page, target) {
                faults.push(format!("{}: {target}: {fault}", page.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} links found");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The code spans of a page, each with the text between it and the span before.
fn code_spans(prose: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = prose.split('`').collect();
    let pairs = parts.chunks_exact(2);
    pairs.map(|pair| (pair[0], pair[1])).collect()
}

#[test]
fn files_that_documents_name_exist() {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "benches/", "docs/", "examples/"];
    let (mut checked, mut missing) = (0, Vec::new());
    for page in pages() {
        for (_, span) in code_spans(&prose(&page)) {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder))
                && !span.contains([' ', '*', '…']);
            checked += usize::from(is_path);
            if is_path && !exists(&root().join(span)) {
                missing.push(format!("{}: {span}", page.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} paths found");
    assert!(missing.is_empty(), "no such files: {missing:#?}");
}

/// The tests that a page names: the file of each, and its name or `*`.
fn named_tests(prose: &str) -> Vec<(PathBuf, &str)> {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*".contains(c))
    };
    let (mut tests, mut file) = (Vec::new(), None);
    for (before, span) in code_spans(prose) {
        // Names of tests follow the name of a source file: `src/a.rs`: `b`, `c`.
        file = file.filter(|_| [":", ","].contains(&before.trim_matches([' ', '\n', '*'])));
        if is_name(span)
            && let Some((module, name)) = span.rsplit_once("::")
        {
            let path = root().join("tests/daemon").join(module.replace("::", "/"));
            let (folder, path) = (path.join("mod.rs"), path.with_extension("rs"));
            tests.push((if path.exists() { path } else { folder }, name));
        } else if Path::new(span).extension().is_some_and(|e| e == "rs") {
            file = Some(root().join(span));
        } else if is_name(span)
            && let Some(file) = &file
        {
            tests.push((file.clone(), span));
        }
    }
    tests
}

#[test]
fn tests_that_documents_name_exist() {
    for (page, least) in PAGES_THAT_NAME_TESTS {
        let prose = prose(&root().join(page));
        let tests = named_tests(&prose);
        let count = tests.len();
        assert!(count >= least, "only {count} tests found in {page}");
        let is_missing = |(file, name): &&(PathBuf, &str)| {
            let source = fs::read_to_string(file).unwrap_or_default();
            let function = format!("fn {name}(");
            !source.contains(if *name == "*" { "#[test]" } else { &function })
        };
        let missing: Vec<_> = tests.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{page}: no such tests: {missing:#?}");
    }
}
