//! The tokens and the grammar of XPath expressions. What is behind the end of an expression is not looked at, as in the
//! reference.

use super::names;

/// Deepest nesting of an expression: far above any written by hand, and far below what the stack holds. The reference
/// has bounds of 200 and 1,024.
/// At the bound: the configuration is refused.
const DEPTH_MAX: usize = 100;

/// A token.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    End,
    /// A character that means itself.
    Sign(char),
    SlashSlash,
    DotDot,
    NotEqual,
    LessOrEqual,
    GreaterOrEqual,
    Text(String),
    Number(f64),
    /// A prefix, a name, and whether an opening parenthesis follows.
    Name(String, String, bool),
    /// The name of an axis, before two colons.
    Axis(String),
}

/// A node of an expression's tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Root,
    Step { axis: String, test: NodeTest, prefix: String, name: String, input: Option<Box<Node>> },
    Filter { input: Box<Node>, condition: Box<Node> },
    Call { name: String, arguments: Vec<Node> },
    Operator { sign: &'static str, left: Box<Node>, right: Box<Node> },
    Text(String),
    Number(f64),
    Group(Box<Node>),
}

/// What kind of node a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeTest {
    Any,
    Element,
    Attribute,
    Text,
    Comment,
}

pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser { scanner: Scanner { rest: text }, token: Token::End, depth: 0 };
    parser.next()?;
    parser.or()
}

struct Scanner<'t> {
    rest: &'t str,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|character| !fits(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_string()
    }

    fn take(&mut self, character: char) -> bool {
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn token(&mut self) -> Result<Token, String> {
        self.skip_space();
        let Some(first) = self.peek() else { return Ok(Token::End) };
        let is_digit = |character: char| character.is_ascii_digit();
        let doubled = |scanner: &mut Self, second: char, both: Token| {
            scanner.take(first);
            if scanner.take(second) { both } else { Token::Sign(first) }
        };
        Ok(match first {
            ',' | '@' | '(' | ')' | '|' | '*' | '[' | ']' | '+' | '-' | '=' | '$' => {
                self.take(first);
                Token::Sign(first)
            }
            '<' => doubled(self, '=', Token::LessOrEqual),
            '>' => doubled(self, '=', Token::GreaterOrEqual),
            '!' => doubled(self, '=', Token::NotEqual),
            '/' => doubled(self, '/', Token::SlashSlash),
            '.' => {
                self.take('.');
                if self.take('.') {
                    Token::DotDot
                } else if self.peek().is_some_and(is_digit) {
                    number(&format!("0.{}", self.take_while(is_digit)))?
                } else {
                    Token::Sign('.')
                }
            }
            '"' | '\'' => {
                self.take(first);
                let text = self.take_while(|character| character != first);
                if !self.take(first) {
                    return Err("a text has no closing quote".to_string());
                }
                Token::Text(text)
            }
            _ if is_digit(first) => {
                let mut digits = self.take_while(is_digit);
                if self.take('.') {
                    digits = format!("{digits}.{}", self.take_while(is_digit));
                }
                number(&digits)?
            }
            _ if is_name(first) => self.name()?,
            _ => return Err(format!("unexpected {first:?}")),
        })
    }

    fn name(&mut self) -> Result<Token, String> {
        let invalid = || "an invalid name with a colon".to_string();
        let mut name = self.take_while(is_name);
        let mut prefix = String::new();
        if self.take(':') {
            if self.take(':') {
                return Ok(Token::Axis(name));
            }
            prefix = name;
            name = if self.take('*') { "*".to_string() } else { self.take_while(is_name) };
            if name.is_empty() {
                return Err(invalid());
            }
        } else {
            self.skip_space();
            if self.take(':') {
                return if self.take(':') { Ok(Token::Axis(name)) } else { Err(invalid()) };
            }
        }
        self.skip_space();
        Ok(Token::Name(prefix, name, self.peek() == Some('(')))
    }
}

fn is_name(character: char) -> bool {
    character != ':' && names::is_part(character)
}

fn number(digits: &str) -> Result<Token, String> {
    let number: f64 = digits.parse().map_err(|_| format!("{digits} is no number"))?;
    if number.is_finite() { Ok(Token::Number(number)) } else { Err(format!("{digits} is too large")) }
}

struct Parser<'t> {
    scanner: Scanner<'t>,
    token: Token,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Token, String> {
        let token = self.scanner.token()?;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is(&self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if !self.is(sign) {
            return Err(format!("{sign:?} is expected"));
        }
        self.next().map(|_| ())
    }

    /// One level of the tree more. A chain of operators or steps is as deep as it is long.
    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("it is nested deeper than {DEPTH_MAX} levels")) } else { Ok(()) }
    }

    fn is_operator(&self, word: &str) -> bool {
        matches!(&self.token, Token::Name(prefix, name, _) if prefix.is_empty() && name == word)
    }

    fn or(&mut self) -> Result<Node, String> {
        self.deeper()?;
        let mut left = self.and()?;
        while self.is_operator("or") {
            self.next()?;
            left = self.joined("or", left, Self::and)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// `left sign right`
    fn joined(
        &mut self,
        sign: &'static str,
        left: Node,
        right: impl Fn(&mut Self) -> Result<Node, String>,
    ) -> Result<Node, String> {
        let depth = depth(&left);
        let right = right(self)?;
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
        }
        Ok(Node::Operator { sign, left: Box::new(left), right: Box::new(right) })
    }

    fn and(&mut self) -> Result<Node, String> {
        let mut left = self.equality()?;
        while self.is_operator("and") {
            self.next()?;
            left = self.joined("and", left, Self::equality)?;
        }
        Ok(left)
    }

    fn equality(&mut self) -> Result<Node, String> {
        let mut left = self.relation()?;
        loop {
            let sign = match self.token {
                Token::Sign('=') => "=",
                Token::NotEqual => "!=",
                _ => return Ok(left),
            };
            self.next()?;
            left = self.joined(sign, left, Self::relation)?;
        }
    }

    fn relation(&mut self) -> Result<Node, String> {
        let mut left = self.sum()?;
        loop {
            let sign = match self.token {
                Token::Sign('<') => "<",
                Token::Sign('>') => ">",
                Token::LessOrEqual => "<=",
                Token::GreaterOrEqual => ">=",
                _ => return Ok(left),
            };
            self.next()?;
            left = self.joined(sign, left, Self::sum)?;
        }
    }

    fn sum(&mut self) -> Result<Node, String> {
        let mut left = self.product()?;
        loop {
            let sign = match self.token {
                Token::Sign('+') => "+",
                Token::Sign('-') => "-",
                _ => return Ok(left),
            };
            self.next()?;
            left = self.joined(sign, left, Self::product)?;
        }
    }

    fn product(&mut self) -> Result<Node, String> {
        let mut left = self.unary()?;
        loop {
            let sign = match self.token {
                Token::Sign('*') => "*",
                _ if self.is_operator("div") => "div",
                _ if self.is_operator("mod") => "mod",
                _ => return Ok(left),
            };
            self.next()?;
            left = self.joined(sign, left, Self::unary)?;
        }
    }

    fn unary(&mut self) -> Result<Node, String> {
        let mut is_negative = false;
        while self.is('-') {
            self.next()?;
            is_negative = !is_negative;
        }
        let operand = self.union()?;
        if is_negative { self.joined("*", operand, |_| Ok(Node::Number(-1.0))) } else { Ok(operand) }
    }

    fn union(&mut self) -> Result<Node, String> {
        let mut left = self.path()?;
        while self.is('|') {
            self.next()?;
            left = self.joined("|", left, Self::path)?;
        }
        Ok(left)
    }

    fn is_primary(&self) -> bool {
        match &self.token {
            Token::Text(_) | Token::Number(_) | Token::Sign('$' | '(') => true,
            Token::Name(prefix, name, is_call) => *is_call && !is_node_type(prefix, name),
            _ => false,
        }
    }

    fn path(&mut self) -> Result<Node, String> {
        if !self.is_primary() {
            return self.location();
        }
        let mut operand = self.primary()?;
        if self.is('[') {
            operand = self.filtered(operand)?;
        }
        match self.token {
            Token::Sign('/') => {
                self.next()?;
                self.steps(Some(operand))
            }
            Token::SlashSlash => {
                self.next()?;
                self.steps(Some(all_below(Some(operand))))
            }
            _ => Ok(operand),
        }
    }

    fn location(&mut self) -> Result<Node, String> {
        match self.token {
            Token::Sign('/') => {
                self.next()?;
                let is_step = matches!(
                    self.token,
                    Token::Sign('.' | '@' | '*') | Token::DotDot | Token::Axis(_) | Token::Name(..)
                );
                if is_step { self.steps(Some(Node::Root)) } else { Ok(Node::Root) }
            }
            Token::SlashSlash => {
                self.next()?;
                self.steps(Some(all_below(Some(Node::Root))))
            }
            _ => self.steps(None),
        }
    }

    fn steps(&mut self, input: Option<Node>) -> Result<Node, String> {
        let depth = self.depth;
        let mut at = self.step(input)?;
        loop {
            match self.token {
                Token::SlashSlash => {
                    self.next()?;
                    at = all_below(Some(at));
                }
                Token::Sign('/') => {
                    self.next()?;
                }
                _ => break,
            }
            self.deeper()?;
            at = self.step(Some(at))?;
        }
        self.depth = depth;
        Ok(at)
    }

    fn step(&mut self, input: Option<Node>) -> Result<Node, String> {
        let mut at = match &self.token {
            Token::Sign('.') => {
                self.next()?;
                step("self", NodeTest::Any, input)
            }
            Token::DotDot => {
                self.next()?;
                step("parent", NodeTest::Any, input)
            }
            Token::Sign('(') => return self.sequence(input),
            Token::Sign('@') => {
                self.next()?;
                self.node_test("attribute", input)?
            }
            Token::Axis(axis) => {
                let axis = axis.clone();
                self.next()?;
                self.node_test(&axis, input)?
            }
            _ => self.node_test("child", input)?,
        };
        while self.is('[') {
            at = self.filtered(at)?;
        }
        Ok(at)
    }

    fn filtered(&mut self, input: Node) -> Result<Node, String> {
        self.expect('[')?;
        let condition = self.or()?;
        self.expect(']')?;
        if depth(&input) > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
        }
        Ok(Node::Filter { input: Box::new(input), condition: Box::new(condition) })
    }

    /// Steps in parentheses, apart by commas: their union.
    fn sequence(&mut self, input: Option<Node>) -> Result<Node, String> {
        self.deeper()?;
        self.expect('(')?;
        let mut at = self.step(input.clone())?;
        while self.is(',') {
            self.next()?;
            at = self.joined("|", at, |parser| parser.step(input.clone()))?;
        }
        self.depth -= 1;
        self.expect(')')?;
        Ok(at)
    }

    fn node_test(&mut self, axis: &str, input: Option<Node>) -> Result<Node, String> {
        let test = if axis == "attribute" { NodeTest::Attribute } else { NodeTest::Element };
        match self.next()? {
            Token::Name(prefix, name, true) if is_node_type(&prefix, &name) => {
                self.expect('(')?;
                let mut literal = String::new();
                if let (true, Token::Text(text)) = (name == "processing-instruction", &self.token) {
                    literal = text.clone();
                    self.next()?;
                }
                self.expect(')')?;
                let test = match name.as_str() {
                    "comment" => NodeTest::Comment,
                    "text" => NodeTest::Text,
                    "node" => NodeTest::Any,
                    _ => test,
                };
                Ok(Node::Step {
                    axis: axis.to_string(),
                    test,
                    prefix: String::new(),
                    name: literal,
                    input: input.map(Box::new),
                })
            }
            Token::Name(prefix, name, _) => {
                // `prefix:*` matches nothing in the reference: no element is called so.
                Ok(Node::Step { axis: axis.to_string(), test, prefix, name, input: input.map(Box::new) })
            }
            Token::Sign('*') => Ok(step(axis, test, input)),
            _ => Err("a node is expected: a name, *, @, ., .. or text()".to_string()),
        }
    }

    fn primary(&mut self) -> Result<Node, String> {
        match self.next()? {
            Token::Text(text) => Ok(Node::Text(text)),
            Token::Number(number) => Ok(Node::Number(number)),
            Token::Sign('(') => {
                let inner = self.or()?;
                self.expect(')')?;
                Ok(if matches!(inner, Node::Text(_) | Node::Number(_)) { inner } else { Node::Group(Box::new(inner)) })
            }
            Token::Name(_, name, _) => {
                self.expect('(')?;
                let mut arguments = Vec::new();
                if !self.is(')') {
                    loop {
                        arguments.push(self.or()?);
                        if self.is(')') {
                            break;
                        }
                        self.expect(',')?;
                    }
                }
                self.expect(')')?;
                Ok(Node::Call { name, arguments })
            }
            _ => Err("variables are not known here".to_string()),
        }
    }
}

fn is_node_type(prefix: &str, name: &str) -> bool {
    prefix.is_empty() && matches!(name, "node" | "text" | "processing-instruction" | "comment")
}

fn step(axis: &str, test: NodeTest, input: Option<Node>) -> Node {
    let (prefix, name) = (String::new(), String::new());
    Node::Step { axis: axis.to_string(), test, prefix, name, input: input.map(Box::new) }
}

/// A node and all below it.
fn all_below(input: Option<Node>) -> Node {
    step("descendant-or-self", NodeTest::Any, input)
}

/// How deep a tree is on the side where chains grow, without recursion.
fn depth(node: &Node) -> usize {
    let mut at = node;
    let mut depth = 0;
    loop {
        depth += 1;
        at = match at {
            Node::Step { input: Some(input), .. } | Node::Filter { input, .. } => input,
            Node::Operator { left, .. } => left,
            Node::Group(inner) => inner,
            _ => return depth,
        };
    }
}
