//! What Go's reader takes although the specification forbids it, put right in the text so that it reads the same; and
//! the words for what nobody takes.

use granit_parser::{ErrorKind, ScanError};

use super::YamlError;
use super::fault::{error, line_of, too_deep};

/// Bytes read again in all, over all mends of a text: a file in which every line needs one stays cheap.
/// At the bound: the configuration is refused.
const REREAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most mends of a text.
/// At the bound: the configuration is refused.
const MENDS_MAX: usize = 1000;

/// How often a text may still be read again.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of(text: &str) -> Self {
        Self((REREAD_BYTES_MAX / text.len().max(1)).min(MENDS_MAX))
    }

    pub(super) fn take(&mut self) -> bool {
        let is_left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        is_left
    }
}

/// The text without the fault, when it is one that Go's reader takes. No line moves.
pub(super) fn mend(text: &str, scan: &ScanError) -> Option<String> {
    let at = scan.marker().byte_offset()?;
    let (before, after) = text.split_at_checked(at)?;
    match scan.kind() {
        // `"value"# comment`
        ErrorKind::CommentNotSeparated => {
            let hash = at + after.find('#')?;
            Some(format!("{} {}", text.get(..hash)?, text.get(hash..)?))
        }
        // `"it\'s"`; the fault is told at the start of the text in quotes.
        ErrorKind::UnknownQuotedScalarEscape => {
            let escape = at + escaped_quote(after)?;
            Some(format!("{}{}", text.get(..escape)?, text.get(escape + 1..)?))
        }
        // JSON indented with tabs, within a block.
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
            if is_in_flow(before) =>
        {
            // Told where the tab is, or at the end of what the next line would go on with.
            let here = before.rfind('\n').map_or(0, |end| end + 1);
            let below = after.find('\n').map(|end| at + end + 1);
            std::iter::once(here).chain(below).find_map(|start| without_tabs(text, start))
        }
        // `[-]`
        ErrorKind::PlainScalarStartsWithDashFlowIndicator => {
            let rest = after.strip_prefix('-')?;
            Some(format!("{before}\"-\"{rest}"))
        }
        _ => None,
    }
}

/// The text with spaces for the tabs that the line at `start` begins with; none when there are none.
fn without_tabs(text: &str, start: usize) -> Option<String> {
    let (before, line) = text.split_at_checked(start)?;
    let white = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    let (indentation, rest) = line.split_at(white);
    let spaces = indentation.replace('\t', " ");
    (spaces != indentation).then(|| format!("{before}{spaces}{rest}"))
}

/// Where `\'` stands in the text in double quotes that `text` begins with.
fn escaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' if escaped => return Some(index - 1),
            b'"' if !escaped && index > 0 => return None,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Whether more brackets were opened than closed before this place, as far as that can be told without reading.
fn is_in_flow(before: &str) -> bool {
    let mut open = 0_usize;
    for line in before.lines() {
        for character in line.split(" #").next().unwrap_or_default().chars() {
            match character {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
        }
    }
    open > 0
}

const UNCLOSED: (&str, &str) =
    ("a `[` or `{` has no end, or a comma is missing before this", "close it, or add the comma");

/// What is said of a text that is no YAML.
pub(super) fn told(text: &str, scan: &ScanError) -> YamlError {
    let mut line = line_of(scan.marker().line());
    let (cause, remedy) = match scan.kind() {
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar
        | ErrorKind::InvalidBlockEntryWhitespace
        | ErrorKind::InvalidMappingValueWhitespace => {
            line = tabbed_line(text, line);
            ("a tab where YAML allows spaces only", "use spaces")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("a text in quotes has no end", "close the quotation mark")
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => UNCLOSED,
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::MismatchedFlowCollectionEnd { .. } => {
            ("a bracket closes what was not opened with it", "make `[` end with `]` and `{` with `}`")
        }
        ErrorKind::UnknownAnchor => (
            "an alias (`*name`) of an anchor (`&name`) that does not stand before it",
            "define it, or put text that begins with `*` in quotes",
        ),
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => (
            "a backslash in double quotes that escapes nothing",
            "double it, or use single quotes, in which backslashes are themselves",
        ),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement | ErrorKind::InvalidSimpleKey
            if is_in_flow(scan.marker().byte_offset().and_then(|at| text.get(..at)).unwrap_or_default()) =>
        {
            UNCLOSED
        }
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidColonPlacement
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidSimpleKey => {
            ("`key: value` where none can stand", "correct the indentation, or put a text with `: ` in it in quotes")
        }
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::InvalidBlockScalarIndent => {
            ("indented neither as what is above nor as a part of it", "correct the indentation")
        }
        ErrorKind::UnexpectedCharacter { character: '\t' } => {
            line = tabbed_line(text, line);
            ("a tab where YAML allows spaces only", "use spaces")
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            ("a text begins with a character that means something in YAML", "put the text in quotes")
        }
        ErrorKind::RecursionLimitExceeded => return too_deep(line),
        _ => return error(line, not_yaml(scan, line, &scan.info()), "correct the YAML"),
    };
    let here = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or_default();
    // Its brace opens a mapping there, in Go's reader, too.
    let is_expression = (cause, remedy) == UNCLOSED && here.contains("${");
    let remedy = if is_expression { "within `[ ]` and `{ }` put a value with `${...}` in quotes" } else { remedy };
    error(line, not_yaml(scan, line, cause), remedy)
}

fn not_yaml(scan: &ScanError, line: u32, cause: &str) -> String {
    // Where another line is named than the reader's, its column is that of the tab.
    let column = if line == line_of(scan.marker().line()) { scan.marker().col() + 1 } else { 1 };
    format!("not YAML at column {column}: {cause}")
}

/// The line with the tab: the reader may have told of the text that the line would go on with.
fn tabbed_line(text: &str, line: u32) -> u32 {
    let is_tabbed = |text: &str| text.trim_start_matches(' ').starts_with('\t');
    let mut lines = (1_u32..).zip(text.lines()).skip_while(|(number, _)| *number < line).take(2);
    match (lines.next(), lines.next()) {
        (Some((_, here)), Some((next, below))) if !here.contains('\t') && is_tabbed(below) => next,
        _ => line,
    }
}
