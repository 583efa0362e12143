//! The commands of docs/operating.md.

/// The block of commands that has `part`.
pub fn commands_with(part: &str) -> String {
    let page = include_str!("../../../docs/operating.md");
    let mut blocks = page.split("```sh\n").skip(1);
    let block = blocks.find_map(|rest| {
        let (block, _) = rest.split_once("```")?;
        block.contains(part).then_some(block)
    });
    block
        .expect("the commands are in docs/operating.md")
        .to_owned()
}
