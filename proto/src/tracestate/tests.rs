//! Vectors of the specification and of the Collector's `pkg/sampling`, and what must survive a rewriting.

use super::*;

fn state(threshold: Option<u64>, randomness: Option<u64>) -> SamplingState {
    SamplingState { threshold, randomness, is_faulty: false }
}

fn th(text: &str) -> Option<u64> {
    read_threshold(text.as_bytes())
}

fn rv(text: &str) -> Option<u64> {
    read_randomness(text.as_bytes())
}

fn rewritten(header: &str, new: SamplingState) -> Result<String, TraceStateError> {
    let mut out = b"before ".to_vec();
    rewrite(header.as_bytes(), new, &mut out)?;
    Ok(String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_string())
}

#[test]
fn sound_members_are_read() {
    for (value, expected) in [
        ("th:2", state(th("2"), None)),
        ("th:ab", state(th("ab"), None)),
        ("th:abcdefabcdefab", state(th("abcdefabcdefab"), None)),
        ("th:1000", state(th("1"), None)),
        ("e100:1", state(None, None)),
        ("th:2;extra:stuff", state(th("2"), None)),
        ("extra:stuff;th:2", state(th("2"), None)),
        ("e100:100;th:1;e101:101", state(th("1"), None)),
        ("rv:22222222222222;extra:stuff", state(None, rv("22222222222222"))),
        ("rv:ffffffffffffff", state(None, rv("ffffffffffffff"))),
        ("x:", state(None, None)),
        ("x:0X1FFF;y:.-_-.;z:", state(None, None)),
        ("x1y2z3:1-2-3;y1:y_1;xy:-;th:50", state(th("5"), None)),
        ("rv:10000000000000;th:3;a:b;c:d", state(th("3"), rv("10000000000000"))),
        ("th:1;th:2", state(th("2"), None)),
    ] {
        assert_eq!(read(format!("ot={value}").as_bytes()), Ok(expected), "{value}");
    }
    let longest = format!("ot=x:{}", "_".repeat(254));
    assert_eq!(read(longest.as_bytes()), Ok(state(None, None)));
    let foreign = "ot=th:c;rv:d29d6a7215ced0;pn:abc,zz=vendorcontent";
    assert_eq!(read(foreign.as_bytes()), Ok(state(th("c"), rv("d29d6a7215ced0"))));
}

#[test]
fn malformed_members_take_the_whole_of_ot_along() {
    for value in [
        "th:1;",
        "th:1;p:2=s:3",
        ":1;p:2=s:3",
        ":;p:2=s:3",
        ":;:",
        ":",
        "th:;p=1",
        "th:$",
        "th:0x1p+3",
        "1:1;u:V",
        "X:1;u:V",
        "x:1;",
        "th:a b",
    ] {
        assert!(read(format!("ot={value}").as_bytes()).is_err(), "{value}");
    }
    assert!(read(format!("ot=x:{}", "_".repeat(255)).as_bytes()).is_err(), "longer than a value may be");
}

#[test]
fn a_bad_value_of_th_or_rv_counts_as_absent_and_harms_nothing_else() {
    for (value, expected) in [
        ("th:ffffffffffffffff;p:2", state(None, None)),
        ("th:100000000000000", state(None, None)),
        ("th:;rv:22222222222222", state(None, rv("22222222222222"))),
        ("th:14.5", state(None, None)),
        ("th:-1", state(None, None)),
        ("rv:3;p:2;th:8", state(th("8"), None)),
        ("rv:abcdefgabcdefg", state(None, None)),
    ] {
        let expected = SamplingState { is_faulty: true, ..expected };
        assert_eq!(read(format!("ot={value}").as_bytes()), Ok(expected), "{value}");
    }
    assert_eq!(rewritten("ot=rv:3;p:2;th:8,a=b", state(th("c"), None)).unwrap(), "ot=th:c;p:2,a=b");
}

#[test]
fn headers_are_read_as_w3c_says() {
    for header in [
        "ot=th:1",
        " ot=th:1 ",
        " ot=th:1,other=value ",
        " , ot=th:1, , other=value ",
        "0tenant@system=value,ot=th:1",
        "key= value,ot=th:1",
        "ot=th:1,key=value\t",
        "1abc=value,ot=th:1",
        "ot=th:5,ot=th:1",
    ] {
        assert_eq!(read(header.as_bytes()), Ok(state(th("1"), None)), "{header}");
    }
    assert_eq!(read(b",,,"), Ok(state(None, None)));
    assert_eq!(read(b""), Ok(state(None, None)));
    let spaced = read(b"ot=th:100;rv:abcdabcdabcdff ");
    assert_eq!(spaced, Ok(state(th("1"), rv("abcdabcdabcdff"))));
    for header in ["-1=2", "=", "KEY=value", "key=", "a b=value", "@system=value", "key=\u{1}", "key", "a=b=c"] {
        assert_eq!(read(header.as_bytes()), Err(TraceStateError::Member), "{header}");
    }
    assert!(read(format!("{}=v", "k".repeat(257)).as_bytes()).is_err());
    let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
    assert!(read(many(32).as_bytes()).is_ok());
    assert_eq!(read(many(33).as_bytes()), Err(TraceStateError::TooMany));
}

#[test]
fn a_rewritten_ot_comes_first_and_all_else_survives_in_order() {
    for (header, new, expected) in [
        ("", state(th("8"), None), "ot=th:8"),
        ("ot=rv:abcdefabcdefab", state(th("3"), rv("abcdefabcdefab")), "ot=rv:abcdefabcdefab;th:3"),
        ("ot=a:b", state(th("3"), rv("00000000000003")), "ot=rv:00000000000003;th:3;a:b"),
        ("ot=a:b;rv:12341234123412;th:1234", state(None, None), "ot=a:b"),
        ("ot=th:8", state(None, None), ""),
        ("x=1, y=2 ,ot=th:8;a:b,,z= 3", state(th("c"), None), "ot=th:c;a:b,x=1,y=2,z= 3"),
        ("x=1", state(Some(0), None), "ot=th:0,x=1"),
        ("ot=th:80000000000000;rv:FD70A3D70A3D71", state(th("8"), rv("FD70A3D70A3D71")), "ot=rv:fd70a3d70a3d71;th:8"),
    ] {
        assert_eq!(rewritten(header, new).unwrap(), expected, "{header}");
    }
    let many = (0..32).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
    let new = rewritten(&many, state(th("8"), None)).unwrap();
    assert!(new.starts_with("ot=th:8,k0=v,") && new.ends_with(",k30=v"), "the last one gave way: {new}");
    let full = format!("ot=x:{},a=b", "_".repeat(252));
    assert_eq!(rewritten(&full, state(th("8"), None)), Err(TraceStateError::TooLong));
    assert_eq!(rewritten("bad", state(th("8"), None)), Err(TraceStateError::Member));
}

#[test]
fn the_collectors_reading_is_stricter() {
    for (header, expected) in [
        ("a=1,key=value", Some("value")),
        ("\tkey=value  ", Some("value")),
        (",,key=value", Some("value")),
        ("0t@sys=x,key=value", Some("value")),
        ("key=value, ", None),
        ("key=value,1abc=x", None),
        ("key=value,key=value", None),
        ("key=value,b", None),
        ("other=value", None),
        ("", None),
    ] {
        assert_eq!(collector_member(header.as_bytes(), b"key"), expected.map(str::as_bytes), "{header}");
    }
}
