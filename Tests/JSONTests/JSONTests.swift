import JSON
import Testing

@Suite struct JSONTests {
  @Test(arguments: [
    "null", "true", "[]", "{}", #"{"a":[1,-2,3.5,1e9],"b":"x\"\\\n"}"#, #"["é😀"]"#, "9223372036854775807",
    "123456789012345678901234567890",
  ])
  func whatIsWrittenIsReadBack(_ text: String) throws {
    let value = try JSONValue.parse(text)
    #expect(try JSONValue.parse(value.encoded()) == value)
    #expect(try JSONValue.parse(value.encoded(pretty: true)) == value)
  }

  @Test func integersAreExactAndOthersKeepTheirText() throws {
    #expect(try JSONValue.parse("9223372036854775807") == .integer(.max))
    #expect(try JSONValue.parse("1.10") == .number("1.10"))
    #expect(try JSONValue.parse("5e3").integer == 5000)
  }

  @Test func escapesAndSurrogatePairsAreDecoded() throws {
    #expect(try JSONValue.parse(#""\u0041\ud83d\ude00\/\t""#) == "A😀/\t")
  }

  @Test func membersKeepTheirOrder() throws {
    #expect(try JSONValue.parse(#"{"z":1,"a":2,"m":3}"#).object?.keys == ["z", "a", "m"])
  }

  @Test(arguments: [
    ("", "ends too early", 0), ("{\"a\":1,}", "expected a member's name", 7), ("[1 2]", "expected ',' or ']'", 3),
    ("01", "text after the document", 1), ("\"a\u{1}\"", "control character in a string", 2),
    (#"{"a":1,"a":2}"#, #"member "a" stands twice"#, 7), (#""\ud800""#, "surrogate without its pair", 7),
    ("tru", "unexpected character", 3), ("1.", "expected a digit", 2), ("-", "expected a digit", 1),
    (#""\x""#, "unknown escape", 3), ("\"abc", "string without an end", 4),
  ])
  func badDocumentsAreRefusedWithTheirPlace(_ text: String, _ problem: String, _ offset: Int) {
    #expect(throws: JSONError(problem: problem, offset: offset)) { try JSONValue.parse(text) }
  }

  @Test func textThatIsNotUTF8IsRefused() {
    #expect(throws: JSONError.self) { try JSONValue.parse([0x22, 0xFF, 0x22]) }
  }

  @Test func depthAndSizeAreBounded() {
    let deep = String(repeating: "[", count: 100_000)
    #expect(throws: JSONError(problem: "nested deeper than 64", offset: 65)) { try JSONValue.parse(deep) }
    #expect(throws: JSONError.self) { try JSONValue.parse("[1,2,3]", limits: JSONLimits(maxBytes: 4)) }
  }
}
