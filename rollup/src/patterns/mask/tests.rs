//! What varies in a line, by example.

use super::super::token::{put_readable, tokens};
use super::*;
use proptest::prelude::*;

fn masked(line: &str) -> String {
    masked_with(line, &[])
}

fn masked_with(line: &str, masks: &[NamedMask]) -> String {
    let mut shape = Shape::default();
    text(&mut shape, line.as_bytes(), masks);
    let mut readable = Vec::new();
    put_readable(&mut readable, shape.finish());
    String::from_utf8(readable).unwrap()
}

#[test]
fn what_varies_is_taken_out() {
    for (line, expected) in [
        ("user 4711 logged in", "user <*> logged in"),
        ("took 19.05 seconds, then -3", "took <*>, then <*>"),
        ("pi is 3.14.", "pi is <*>."),
        ("id 0x7fed806eb5d and 1f3870be274f6c49", "id <*> and <*>"),
        ("job 123e4567-e89b-12d3-a456-426614174000 done", "job <*> done"),
        ("from 10.251.73.220:50010 to /10.0.0.1", "from <*> to <*>"),
        ("addr 2607:f140:6000:8:c6b3:1ff:fecd:467f up", "addr <*> up"),
        ("open /var/log/app.log failed", "open <*> failed"),
        ("open C:\\Windows\\x.dll failed", "open <*> failed"),
        ("GET https://a.b/c?d=e&f=g: refused", "GET <*>: refused"),
        ("mail to ann@example.org sent", "mail to <*> sent"),
        ("at 2016-09-27T20:30:31.455Z it began", "at <*> it began"),
        ("at Fri Jun 17 07:07:00 2005 it began", "at <*> it began"),
        ("sent 1190 bytes (1.16 KB) in <1 sec", "sent <*> in <*>"),
        ("sent 5.2 KB in 10ms", "sent <*> in <*>"),
        ("ready=true,policy=3", "ready=<*>,policy=<*>"),
        ("ret:false", "ret:<*>"),
        ("user=root name=\"A B\" msg=\"it began\"", "user=<*> name=<*> msg=\"it began\""),
        ("logname= uid=0", "logname= uid=<*>"),
        ("ports 80, 443, 8080 are open", "ports <*> are open"),
        ("call f(1, 2)", "call f(<*>)"),
        ("connection from 1.2.3.4 () closed", "connection from <*> (<*>) closed"),
        ("init() done", "init() done"),
        ("onExtend:1514038530000 14", "onExtend:<*>"),
        ("task_0001 of part-00590.", "<*> of <*>."),
    ] {
        assert_eq!(masked(line), expected, "{line}");
    }
}

#[test]
fn what_is_said_stays() {
    for line in [
        "connected with ssh2 over ipv6 on eth0",
        "CCFile::captureLogRun() exits: and/or TCP/IP",
        "!!! alert ***",
        "may be, or not to be",
        "Stra\u{df}e gesperrt",
        "-> done <-",
    ] {
        assert_eq!(masked(line), line);
    }
    assert_eq!(masked(""), "<*>");
    assert_eq!(masked(" \t "), "<*>");
}

#[test]
fn spaces_of_any_number_are_one() {
    assert_eq!(masked("boot   (command\t1911)\r"), "boot (command <*>)");
}

#[test]
fn a_named_mask_takes_out_what_it_finds() {
    let masks = [
        NamedMask { name: b"order"[..].into(), regex: regex::bytes::Regex::new("ORD-[A-Z]+").unwrap() },
        NamedMask { name: b"all"[..].into(), regex: regex::bytes::Regex::new("ORD").unwrap() },
    ];
    assert_eq!(masked_with("order ORD-XYZ of 7 and ORD-AB", &masks), "order <order> of <*> and <order>");
}

#[test]
fn the_values_of_wildcards_are_told() {
    let mut shape = Shape::default();
    text(&mut shape, b"from 10.0.0.1 port 22 (1 2), took 5 ms", &[]);
    let values: Vec<&[u8]> = shape.values().iter().map(super::super::token::Value::bytes).collect();
    assert_eq!(values, [&b"10.0.0.1"[..], b"22", b"1 2", b"5 ms"]);
}

proptest! {
    /// Whatever comes is a shape: it can be stored and read back. `is_full` in `plain` bounds its tokens.
    #[test]
    fn any_text_is_a_shape(line in "\\PC{0,300}|([a-z/:=.,0-9(@\" ]{0,400})|(a,= ){0,200}") {
        let mut shape = Shape::default();
        text(&mut shape, line.as_bytes(), &[]);
        let bytes = shape.finish().to_vec();
        prop_assert!(super::super::token::is_shape(&bytes), "{bytes:?}");
        let mut again = Vec::new();
        tokens(&bytes).for_each(|token| token.put(&mut again));
        prop_assert_eq!(again, bytes.clone());
        let wildcards = tokens(&bytes).filter(super::super::token::Token::is_wild).count();
        prop_assert_eq!(shape.values().len(), wildcards.min(super::super::token::WILDCARDS_MAX));
    }
}
