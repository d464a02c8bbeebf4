//! The converters: their names, parameters and what the parameters take.

use super::Context;

/// What a parameter takes. "Like" kinds convert what they get; the others fail on another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A value of any type.
    Any,
    Text,
    TextLike,
    Integer,
    IntegerLike,
    Double,
    DoubleLike,
    Boolean,
    BooleanLike,
    BytesLike,
    Map,
    List,
    Time,
    Duration,
    /// A regular expression; written out, so that it is compiled once.
    Pattern,
    /// Written out: known when the condition is read.
    LiteralText,
    LiteralBoolean,
    /// A list of texts, written out.
    LiteralTexts,
    /// A list, written out, of values of any type.
    ManyAny,
    /// A list, written out, of texts.
    ManyText,
    /// A list of any origin whose elements become texts.
    Texts,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, for `name=value`.
    pub name: &'static str,
    /// What it takes.
    pub kind: ParameterKind,
    /// Whether it may be left out.
    pub is_optional: bool,
}

/// One converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Which.
    pub function: Function,
    /// Its name.
    pub name: &'static str,
    /// In order.
    pub parameters: &'static [Parameter],
}

const fn needed(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, is_optional: false }
}

const fn optional(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, is_optional: true }
}

macro_rules! functions {
    ($($function:ident($($how:ident $parameter:ident $kind:ident),*);)*) => {
        /// The converters that are evaluated.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Function {
            $($function,)*
        }

        /// All of them.
        static SIGNATURES: &[Signature] = &[$(Signature {
            function: Function::$function,
            name: stringify!($function),
            parameters: &[$($how(stringify!($parameter), ParameterKind::$kind)),*],
        },)*];
    };
}

functions! {
    Base64Encode(needed target Text, optional variant Text);
    Bool(needed target BooleanLike);
    Coalesce(needed values ManyAny);
    CommunityID(needed source_ip Text, needed source_port Integer, needed destination_ip Text, needed destination_port Integer, optional protocol Text, optional seed Integer);
    Concat(needed vals Texts, needed delimiter Text);
    ContainsValue(needed target List, needed item Any);
    ConvertAttributesToElementsXML(needed target Text, optional xpath LiteralText);
    ConvertCase(needed target Text, needed to_case LiteralText);
    ConvertTextToElementsXML(needed target Text, optional xpath LiteralText, optional element_name LiteralText);
    Day(needed time Time);
    Decode(needed target Any, needed encoding LiteralText);
    Double(needed target DoubleLike);
    Duration(needed duration Text);
    ExtractGrokPatterns(needed target Text, needed pattern LiteralText, optional named_captures_only LiteralBoolean, optional pattern_definitions LiteralTexts);
    ExtractPatterns(needed target Text, needed pattern Pattern);
    FNV(needed target Text);
    Format(needed format LiteralText, needed vals ManyAny);
    FormatTime(needed time Time, needed format LiteralText);
    GetXML(needed target Text, needed xpath LiteralText);
    HasPrefix(needed target Text, needed prefix Text);
    HasSuffix(needed target Text, needed suffix Text);
    Hex(needed target BytesLike);
    Hour(needed time Time);
    Hours(needed duration Duration);
    Index(needed target Any, needed value Any);
    InsertXML(needed target Text, needed xpath LiteralText, needed sub_document Text);
    Int(needed target IntegerLike);
    IsBool(needed target Boolean);
    IsDouble(needed target Double);
    IsEmpty(needed target Any);
    IsInCIDR(needed target Text, needed networks ManyText);
    IsInt(needed target Integer);
    IsList(needed target Any);
    IsMap(needed target Map);
    IsMatch(needed target TextLike, needed pattern Pattern);
    IsRootSpan();
    IsString(needed target Text);
    IsValidLuhn(needed target TextLike);
    Keys(needed target Map);
    Len(needed target Any);
    Log(needed target DoubleLike);
    MD5(needed target Text);
    Microseconds(needed duration Duration);
    Milliseconds(needed duration Duration);
    Minute(needed time Time);
    Minutes(needed duration Duration);
    Month(needed time Time);
    Murmur3Hash(needed target Text);
    Murmur3Hash128(needed target Text);
    Nanosecond(needed time Time);
    Nanoseconds(needed duration Duration);
    ParseCSV(needed target Text, needed header Text, optional delimiter LiteralText, optional header_delimiter LiteralText, optional mode LiteralText);
    ParseInt(needed target Text, needed base Integer);
    ParseJSON(needed target Text);
    ParseKeyValue(needed target Text, optional delimiter LiteralText, optional pair_delimiter LiteralText);
    ParseSeverity(needed target Any, needed mapping Map);
    ParseSimplifiedXML(needed target Text);
    ParseXML(needed target Text);
    ProfileID(needed target BytesLike);
    RemoveXML(needed target Text, needed xpath LiteralText);
    SHA1(needed target Text);
    SHA256(needed target Text);
    SHA512(needed target Text);
    Second(needed time Time);
    Seconds(needed duration Duration);
    SliceToMap(needed target List, optional key_path LiteralTexts, optional value_path LiteralTexts);
    Sort(needed target Any, optional order LiteralText);
    SpanID(needed target BytesLike);
    Split(needed target Text, needed delimiter Text);
    String(needed target TextLike);
    Substring(needed target Text, needed start Integer, needed length Integer, optional utf8_safe LiteralBoolean);
    Time(needed time Text, needed format LiteralText, optional location LiteralText, optional locale LiteralText);
    ToCamelCase(needed target Text);
    ToKeyValueString(needed target Map, optional delimiter LiteralText, optional pair_delimiter LiteralText, optional sort_output LiteralBoolean);
    ToLowerCase(needed target Text);
    ToSnakeCase(needed target Text);
    ToUpperCase(needed target Text);
    TraceID(needed target BytesLike);
    Trim(needed target Text, optional replacement LiteralText);
    TrimPrefix(needed target Text, needed prefix Text);
    TrimSuffix(needed target Text, needed suffix Text);
    TruncateTime(needed time Time, needed duration Duration);
    URL(needed uri Text);
    Unix(needed seconds Integer, optional nanoseconds Integer);
    UnixMicro(needed time Time);
    UnixMilli(needed time Time);
    UnixNano(needed time Time);
    UnixSeconds(needed time Time);
    UserAgent(needed user_agent Text);
    Values(needed target Map);
    Weekday(needed time Time);
    XXH128(needed target Text);
    XXH3(needed target Text);
    Year(needed time Time);
}

/// Converters of the reference that are refused, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["All", "Any", "Filter", "Find", "MapEach", "MapKeys", "Reduce", "When"],
        "takes a lambda, which the Collector has behind a feature gate; it is not supported",
    ),
    (&["Append", "DeleteIndex"], "changes data, which a condition must not"),
    (
        &["Now", "UUID", "UUIDv7"],
        "has another value each time; a verdict must come out the same when it is reached again",
    ),
];

impl Function {
    /// Its name and parameters.
    #[must_use]
    pub fn signature(self) -> Option<&'static Signature> {
        SIGNATURES.iter().find(|signature| signature.function == self)
    }
}

/// The converter of this name that `context` has.
pub(super) fn find(name: &str, context: Context) -> Option<&'static Signature> {
    let is_there = |function| function != Function::IsRootSpan || context == Context::Span;
    SIGNATURES.iter().find(|signature| signature.name == name && is_there(signature.function))
}

/// Why a converter that the reference has is refused.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    if name == "IsRootSpan" {
        return Some("is for conditions on spans only");
    }
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// All names, to find the nearest to a misspelt one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SIGNATURES.iter().map(|signature| signature.name)
}

/// The names of the reference that are refused.
#[cfg(test)]
pub(super) fn refused_names() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().flat_map(|(names, _)| names.iter().copied())
}
