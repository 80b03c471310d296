//! XML-RPC: what other ends send, and what would hurt.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(value: &str) -> Result<Response, XmlRpcError> {
    response(
        format!(
            "<?xml version='1.0'?>\n<methodResponse><params><param>{value}</param></params></methodResponse>"
        )
        .as_bytes(),
    )
}

fn value(text: &str) -> Value {
    match of(text) {
        Ok(Response::Value(value)) => value,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_type_is_read_as_other_ends_write_it() {
    for (text, expected) in [
        ("<value>plain</value>", json!("plain")),
        ("<value> a &amp; b &#65;&lt; </value>", json!(" a & b A< ")),
        ("<value/>", json!(null)), // replaced below: an empty value is no element of `open`
        ("<value></value>", json!("")),
        ("<value><string/></value>", json!("")),
        ("<value><string><![CDATA[<x>]]></string></value>", json!("<x>")),
        ("<value><int>-7</int></value>", json!(-7)),
        ("<value><i4>+7</i4></value>", json!(7)),
        ("<value><i8>5000000000</i8></value>", json!(5_000_000_000_i64)),
        ("<value><boolean>1</boolean></value>", json!(true)),
        ("<value><double>0.5</double></value>", json!(0.5)),
        ("<value><nil/></value>", json!(null)),
        ("<value><dateTime.iso8601>20261202T10:00:00</dateTime.iso8601></value>", json!("20261202T10:00:00")),
        ("<value><array><data/></array></value>", json!([])),
        (
            "<value><array>\n<data>\n<value><int>1</int></value> <value>b</value><value/></data></array></value>",
            json!([1, "b", ""]),
        ),
        (
            "<value><!-- words --><struct><member><name>a</name>\n<value>1</value></member><member><name>b</name><value/></member></struct></value>",
            json!({"a": "1", "b": ""}),
        ),
    ] {
        if text == "<value/>" {
            assert!(of(text).is_err());
            continue;
        }
        assert_eq!(value(text), expected, "{text}");
    }
    let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member>\
                 <member><name>faultString</name><value>Too many\u{7f} parameters</value></member></struct></value></fault></methodResponse>";
    assert_eq!(
        response(fault.as_bytes()).unwrap(),
        Response::Fault { code: 4, text: "Too many parameters".into() }
    );
}

#[test]
fn what_would_hurt_is_refused() {
    for (text, expected) in [
        ("", "no XML-RPC"),
        ("<html><body>502</body></html>", "no XML-RPC"),
        ("<methodResponse>", "no XML-RPC"),
        ("<methodResponse></methodCall>", "no XML"),
        ("<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\">]><methodResponse/>", "a DOCTYPE"),
        ("<?php x ?><methodResponse/>", "a processing instruction"),
    ] {
        let error = response(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (text, expected) in [
        ("<value>&a;</value>", "an entity of its own"),
        ("<value>&#xd800;</value>", "no XML"),
        ("<value><int>2147483648</int></value>", "a whole number"),
        ("<value><int>1e3</int></value>", "a whole number"),
        ("<value><double>NaN</double></value>", "a finite number"),
        ("<value><boolean>true</boolean></value>", "a boolean"),
        ("<value><base64>AAAA</base64></value>", "a type XML-RPC does not have"),
        ("<value>a<int>1</int></value>", "text and an element"),
        ("<value><int a='1'>1</int></value>", "no attributes"),
        ("<value><int>1</int></value><value/>", "an element is expected"),
        (
            "<value><struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct></value>",
            "twice",
        ),
        ("<value><struct><member><value/></member></struct></value>", "an element is expected"),
    ] {
        let error = of(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let deep = format!("{}x{}", "<value><array><data>".repeat(20), "</data></array></value>".repeat(20));
    assert!(of(&deep).unwrap_err().to_string().contains("deeper"));
    let wide = format!("<value><array><data>{}</data></array></value>", "<value></value>".repeat(4_200));
    assert!(of(&wide).unwrap_err().to_string().contains("too large"));
    assert!(response(&vec![b' '; MAX_BYTES + 1]).is_err());
    assert!(response(b"<methodResponse>\xff").is_err());
}

#[test]
fn a_call_is_written_as_the_specification_has_it() {
    let text = call(
        &json!({"step": 1, "digits": "<&>\u{0}", "fields": {}, "more": [true, null, 5_000_000_000_i64]}),
    );
    assert_eq!(
        text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>asterism.next</methodName><params><param><value><struct>\
         <member><name>digits</name><value><string>&lt;&amp;&gt;?</string></value></member>\
         <member><name>fields</name><value><struct></struct></value></member>\
         <member><name>more</name><value><array><data><value><boolean>1</boolean></value><value><nil/></value>\
         <value><i8>5000000000</i8></value></data></array></value></member>\
         <member><name>step</name><value><int>1</int></value></member></struct></value></param></params></methodCall>"
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äöü\\t\\n\\r]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z<&]{1,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_value()) {
        let call = call(&value);
        let inside = call.split_once("<param>").unwrap().1.split_once("</param>").unwrap().0;
        prop_assert_eq!(of(inside), Ok(Response::Value(value)));
    }

    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = response(&bytes);
    }

    #[test]
    fn a_damaged_response_is_judged(at in 0usize..200, with in "[<>&/a-z;#\"]{0,4}", cut in 0usize..9) {
        let whole = "<methodResponse><params><param><value><struct><member><name>do</name><value><array><data><value>\
                     <int>1</int></value></data></array></value></member></struct></value></param></params></methodResponse>";
        let at = at.min(whole.len());
        let end = (at + cut).min(whole.len());
        let _ = response(format!("{}{with}{}", &whole[..at], &whole[end..]).as_bytes());
    }
}
