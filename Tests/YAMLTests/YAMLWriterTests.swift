import JSON
import TestSupport
import Testing
import YAML

@Suite struct YAMLWriterTests {
  @Test func yamlKeepsEveryValue() throws {
    let value = try JSONValue.parse(
      #"""
      {"plain":"a/b-c.d_e","number":"12","time":"2024-05-01","yes":"yes","Null":"null","empty":"","colon":"a: b",
      "lines":"a\nb","dash":"- a","list":[1,2.5,true,null,[],{},[[1,2],["x"]],{"a":1,"b":[{"c":"d"}]}],"object":{"a":{"b":{}}}}
      """#)
    try Golden.check(YAML.encoded(value), named: "values.yaml")
    #expect(YAML.encoded(.array([])) == "[]\n")
    #expect(YAML.encoded("x") == "x\n")
  }

  @Test func whatIsWrittenIsReadBack() throws {
    var random = SplitMix(seed: 7)
    for _ in 0..<300 {
      let value = random.value(depth: 4)
      let text = YAML.encoded(value)
      // A document that is null by itself is an empty one.
      #expect(try YAML.parse(text) == (value.isNull ? [] : [value]), "\(text)")
    }
  }
}

/// Values with the texts that a careless writer gets wrong.
private struct SplitMix {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next(_ bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ (z >> 31)) % UInt64(bound))
  }

  static let texts = [
    "", " ", "a", "- a", "a: b", "#", "a #b", "yes", "1", "0x1f", "1e3", "~", "null", "\n", "a\nb\n", "\t", "'", "\"",
    "{a}",
    "[", "&a", "*a", "!a", "|", ">", "%", "@", "`", "é", "😀", "\u{1}", "\u{7f}", "\u{85}", "\u{2028}", "<<", "=", "y",
    ":",
    "?", "-", "---", "...", "12:30:45", "2001-01-01", ".inf", ".5", "+1", "0o7", "a\\b", "a  ", "x\u{feff}",
  ]

  mutating func text() -> String { Self.texts[next(Self.texts.count)] }

  mutating func value(depth: Int) -> JSONValue {
    switch next(depth > 0 ? 8 : 5) {
    case 0: .null
    case 1: .bool(next(2) == 0)
    case 2: .integer(Int64(next(2_000_000)) - 1_000_000)
    case 3: .number("1.5")
    case 4: .string(text())
    case 5: .array((0..<next(4)).map { _ in value(depth: depth - 1) })
    default:
      .object((0..<next(4)).reduce(into: JSONObject()) { object, _ in object[text()] = value(depth: depth - 1) })
    }
  }
}
