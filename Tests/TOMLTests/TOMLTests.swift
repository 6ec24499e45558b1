import JSON
import Kernel
import Testing
import TestSupport

@testable import TOML

@Suite struct TOMLTests {
  @Test func `A document becomes tables in the order they are written`() throws {
    let object = try TOML.parse(
      """
      # a comment
      title = "x\\ty \\u00e9"
      "quoted key" = 'C:\\dir'
      [host."https://b"]
      ca = ["one", 'two', # why
        "three",
      ]
      [host."https://a"]
      dotted.key.one = 0x_f
      """.replacing("0x_f", with: "0xdead_beef"))
    #expect(object.keys == ["title", "quoted key", "host"])
    #expect(object["title"] == "x\ty é" && object["quoted key"] == "C:\\dir")
    #expect(object["host"]?.object?.keys == ["https://b", "https://a"])
    #expect(object["host"]?["https://b"]?["ca"] == ["one", "two", "three"])
    #expect(object["host"]?["https://a"]?["dotted"]?["key"]?["one"] == 0xdead_beef)
  }

  @Test(arguments: [
    "a = 1\na = 2", "[a]\n[a]", "a.b = 1\n[a]", "[a.b]\n[a]\nb.c = 1", "a = {b = 1}\n[a.c]", "a = [1]\n[[a]]",
    "[[a]]\n[a]", "a = {b = 1}\na.c = 2", "a = 1 b = 2", "a =", "= 1", "a", "a = 01", "a = 1_", "a = _1", "a = 1__0",
    "a = 1.", "a = .5", "a = +0x1", "a = inf", "a = nan", "a = 9223372036854775808", "a = \"x", "a = \"x\ny\"",
    "a = \"\\q\"", "a = \"\\ud800\"", "a = 'x\u{1}'", "a = [1", "a = {b = 1,}", "a = {b = 1\n}", "a = 2025-02-30",
    "a = 25:00:00", "a = 12:00", "[a", "[[a]", "a = word", "a.b.c", "# \u{7}", "a = \"\"\"x", "a = 1\r",
  ])
  func `What is no TOML is refused with its line`(text: String) {
    #expect(throws: TOMLError.self) { try TOML.parse(text) }
  }

  @Test func `An error names the line that it is on`() {
    #expect(throws: TOMLError(line: 4, problem: "b stands twice")) {
      try TOML.parse("[a]\nb = \"\"\"\n\"\"\"\nb = 2")
    }
  }

  @Test func `Depth and length are bounded`() {
    let deep = String(repeating: "[", count: TOML.depthMax + 1)
    #expect(throws: TOMLError.self) { try TOML.parse("a = " + deep) }
    #expect(throws: TOMLError.self) { try TOML.parse(String(repeating: "#", count: TOML.bytesMax + 1)) }
    #expect(throws: TOMLError.self) {
      try TOML.parse(Array(repeating: "a", count: TOML.depthMax + 1).joined(separator: ".") + " = 1")
    }
  }

  /// Documents that Python's reader takes: both must read the same.
  static let corpus = [
    "", "\n\n# only a comment", "a = 1\r\nb = 2\r\n", "a = -17\nb = +99\nc = 0\nd = 1_000", "a = 0o755\nb = 0b1101",
    "a = true\nb = false", "a = 3.25\nb = -0.5\nc = 5e3\nd = 1e0\ne = 6.5E-2\nf = 1_0.2_5", "a = [[1, 2], [], [\"x\"]]",
    "a = {b = 1, c.d = 2, 'e f' = []}\nz = {}", "[a.b.c]\nd = 1\n[a]\ne = 2",
    "[[p]]\nn = 1\n[p.q]\nr = 1\n[[p]]\n[[p.s]]",
    "a.b = 1\na.c.d = 2", "[a]\nb.c = 1\n[a.b.d]\ne = 1", "a = \"\"\"\nx\ny\"\"\"", "a = '''\nx\\y'''",
    "a = \"\"\"one \\\n   \n  two\"\"\"", "a = \"\"\"\"quoted\"\"\"\"", "a = ''''q'''''", "3.14 = 1",
    "\"\" = 1\n'' .x = 2"
      .replacing("'' .x", with: "b . x"), "a = \"\\u20ac \\U0001F600\\\\ \\\"\"", "[ a . \"b.c\" ]\nd = 1", "1 = 2",
    "a = [\n # one\n 1, # two\n\n 2\n]", "a = \"# no comment\" # one", "[a]\n[a.b]\n[c]\n[a.d]",
    "é = 1"
      .replacing("é", with: "\"é\""),
  ]

  @Test(arguments: corpus)
  func `It reads what Python's reader reads`(text: String) async throws {
    let program = "import sys, tomllib, json; json.dump(tomllib.loads(sys.stdin.buffer.read().decode()), sys.stdout)"
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3", arguments: ["python3", "-c", program], input: Array(text.utf8))
    #expect(outcome.status.code == 0, "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
    let theirs = try JSONValue.parse(outcome.output)
    #expect(Self.comparable(.object(try TOML.parse(text))) == Self.comparable(theirs))
  }

  /// Numbers by value, not as they are written.
  private static func comparable(_ value: JSONValue) -> JSONValue {
    switch value {
    case .number: .number("\(value.double ?? .nan)")
    case .array(let elements): .array(elements.map(comparable))
    case .object(let object):
      .object(
        JSONObject(sorted: Dictionary(uniqueKeysWithValues: object.members.map { ($0.key, comparable($0.value)) })))
    default: value
    }
  }

  @Test(arguments: ["1979-05-27T07:32:00Z", "1979-05-27 00:32:00.999-07:00", "1979-05-27", "07:32:00.5"])
  func `Dates are kept as they are written`(text: String) throws {
    #expect(try TOML.parse("a = \(text) # date")["a"] == .string(text))
  }

  @Test func `Random bytes and cut documents end in an error or a value, never in a trap`() {
    var generator = SeededGenerator(seed: 7)
    let pieces = [
      "[", "]", "{", "}", "=", ".", ",", "\"", "'", "\\", "#", "\n", "\r", " ", "a", "1", "-", "_", "é", "\"\"\"",
    ]
    for _ in 0..<3000 {
      let text = (0..<Int.random(in: 0...30, using: &generator)).map { _ in
        pieces.randomElement(using: &generator) ?? ""
      }
      .joined()
      _ = try? TOML.parse(text)
    }
    for text in Self.corpus {
      for length in 0..<text.utf8.count {
        _ = try? TOML.parse(String(decoding: text.utf8.prefix(length), as: UTF8.self))
      }
    }
  }
}

/// The same numbers from the same seed.
private struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ (state >> 33)
  }
}
