import { assertEquals } from "@std/assert";
import { readXml, XmlProblem } from "./xml.ts";

/** What was told of a document, as text; or the code. */
function told(text: string, doctype?: "refuse" | "skip"): string {
  const parts: string[] = [];
  const code = readXml(text, {
    open: (name, attributes) => parts.push(`<${[name, ...Object.values(attributes)].join(" ")}>`),
    text: (piece) => parts.push(piece),
    close: (name) => parts.push(`</${name}>`),
  }, doctype);
  return code ?? parts.join("");
}

Deno.test("a document is told in its order", () => {
  assertEquals(told(`<a x="1"><b/>t<![CDATA[<c>&amp;]]>&lt;&#65;</a>`), "<a 1><b></b>t<c>&amp;<A</a>");
  assertEquals(told(`\n\n<?xml version="1.0"?>\n<!-- no --><?pi?><a/>`), "\n<a></a>");
});

Deno.test("characters that XML does not allow are replaced, as themselves and as references", () => {
  assertEquals(
    told("<a>\u001b[31m\0&#27;&#x1B;&#0;&#xFFFE;&#9;</a>"),
    "<a>\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffd\t</a>",
  );
  assertEquals(told("<a>\ud800</a>"), "<a>\ufffd</a>");
});

Deno.test("what is not well-formed is refused with its line", () => {
  assertEquals(told("<a>\n<b></a>"), "not_xml: line 2");
  assertEquals(told("<a>"), "not_xml: line 1");
  assertEquals(told("\n\n<a x=1/>"), "not_xml: line 3");
  assertEquals(told("<a/><b/>"), "not_xml: line 1");
  for (const text of ["", "   ", "{}", "<a", "<a b='1' b='2'/>", "<a>&</a>"]) {
    assertEquals(told(text).split(":")[0], "not_xml", text);
  }
});

Deno.test("no entity is expanded but the five of XML, and no document type is read", () => {
  const laughs = Array.from({ length: 10 }, (_, n) => `<!ENTITY l${n + 1} "${`&l${n};`.repeat(10)}">`).join("");
  const hostile = [
    `<!DOCTYPE a [<!ENTITY l0 "lol">${laughs}]><a>&l10;</a>`,
    `<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>`,
    `<!DOCTYPE a [<!ENTITY % e SYSTEM "http://192.0.2.1/x.dtd">%e;]><a/>`,
    `<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd" [<!ATTLIST a b CDATA "c">]><a/>`,
  ];
  for (const text of hostile) {
    assertEquals(told(text), "xml_doctype: line 1", text);
    assertEquals(told(text, "skip"), "xml_doctype: line 1", text);
  }
  assertEquals(told("<a>&e;</a>"), "xml_entity: line 1");
  assertEquals(told('<a b="&nbsp;"/>'), "xml_entity: line 1");
  const external = `<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd"><a/>`;
  assertEquals([told(external), told(external, "skip")], ["xml_doctype: line 1", "<a></a>"]);
});

Deno.test("depth and attributes are bounded", () => {
  assertEquals(told("<a>".repeat(100) + "</a>".repeat(100)), "<a>".repeat(100) + "</a>".repeat(100));
  assertEquals(told("<a>".repeat(101) + "</a>".repeat(101)), "xml_too_deep: line 1");
  assertEquals(told("<a>".repeat(1_000_000)), "xml_too_deep: line 1");
  const attributes = (count: number) => Array.from({ length: count }, (_, n) => ` a${n}=""`).join("");
  assertEquals(told(`<a><b${attributes(1000)}/><b${attributes(1000)}/></a>`).split("<b").length, 3);
  assertEquals(told(`<a${attributes(1001)}/>`), "xml_too_many_attributes: line 1");
});

Deno.test("a handler can end the reading", () => {
  const handlers = {
    open: (name: string) => {
      if (name === "b") throw new XmlProblem("not_junit");
    },
    text: () => {},
    close: () => {},
  };
  assertEquals(readXml("<a>\n<b/><c></a>", handlers), "not_junit: line 2");
});
