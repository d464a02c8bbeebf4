//! Stack traces of five languages.

use super::super::token::put_readable;
use super::*;

fn folded(text: &str) -> String {
    let mut shape = Shape::default();
    assert!(stack_trace(&mut shape, text.as_bytes(), &[]), "{text}");
    let mut readable = Vec::new();
    put_readable(&mut readable, shape.finish());
    String::from_utf8(readable).unwrap()
}

#[test]
fn java() {
    let trace = |line: u32, message: &str| {
        format!(
            "java.lang.IllegalStateException: {message}\n\tat a.b.Service.run(Service.java:{line})\n\tat a.b.Main.main(Main.java:9)\n\
             Caused by: java.io.IOException: broken {line}\n\tat a.b.Disk.read(Disk.java:1)\n\t... 2 more"
        )
    };
    let expected = "java.lang.IllegalStateException at a.b.Service.run at a.b.Main.main Caused by: java.io.IOException at a.b.Disk.read";
    assert_eq!(folded(&trace(7, "no order 12")), expected);
    assert_eq!(folded(&trace(8, "something else")), expected);
}

#[test]
fn deep_traces_are_cut() {
    let frames = |count: usize| {
        (0..count).fold("XError: no".to_string(), |text, at| format!("{text}\n  at f{} (a.js:{at}:1)", "x".repeat(at)))
    };
    assert_eq!(folded(&frames(FRAMES_MAX)), folded(&frames(FRAMES_MAX + 9)));
    assert_ne!(folded(&frames(FRAMES_MAX - 1)), folded(&frames(FRAMES_MAX)));
}

#[test]
fn javascript_and_dotnet() {
    let text = "TypeError: Cannot read properties of undefined (reading 'id')\n    at getUser (/app/user.js:10:5)\n    at async handle (/app/main.js:3:1)\n    at /app/x.js:1:2";
    assert_eq!(folded(text), "TypeError at getUser at handle at <*>");
    let text = "System.InvalidOperationException: no 5\r\n   at Shop.Cart.Add(Int32 item) in /src/Cart.cs:line 7\r\n   at Shop.Api.Post()";
    assert_eq!(folded(text), "System.InvalidOperationException at Shop.Cart.Add at Shop.Api.Post");
}

#[test]
fn python() {
    let text = "job 7 failed\nTraceback (most recent call last):\n  File \"/app/a.py\", line 12, in run\n    step(1)\n  File \"/app/b.py\", line 3, in step\n    raise ValueError(x)\nValueError: bad 3";
    assert_eq!(folded(text), "job <*> failed at run at step ValueError");
}

#[test]
fn go() {
    let text = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.find(0xc000012, 0x5)\n\t/app/main.go:12 +0x1d\ngithub.com/acme/shop/cart.(*Cart).Add(0x1)\n\t/app/cart.go:3 +0x2\n\ngoroutine 2 [select]:\nmain.other()\n\t/app/x.go:1";
    assert_eq!(
        folded(text),
        "panic: runtime error: index out of range [<*>] with length <*> at main.find at cart.(*Cart).Add"
    );
}

#[test]
fn lines_that_are_no_trace_are_left_alone() {
    let mut shape = Shape::default();
    assert!(!stack_trace(&mut shape, b"first\nsecond at last\n", &[]));
    assert_eq!(shape.finish(), [3], "nothing was added");
}
