import JSON
import Testing
import YAML

private func values(_ text: String) throws -> [JSONValue] { try YAML.documents(text).map { try $0.content.get() } }

private func problem(_ text: String, limits: YAMLLimits = YAMLLimits()) -> String {
  for document in YAML.documents(text, limits: limits) {
    if case .failure(let error) = document.content { return error.description }
  }
  return "none"
}

@Suite struct YAMLReaderTests {
  @Test(arguments: [
    ("a: 1", #"{"a":1}"#), ("a: 0644", #"{"a":420}"#), ("a: 0x1F", #"{"a":31}"#), ("a: 1_000", #"{"a":1000}"#),
    ("a: -5", #"{"a":-5}"#), ("a: 1.50", #"{"a":1.5}"#), ("a: 1e3", #"{"a":1000}"#), ("a: yes", #"{"a":true}"#),
    ("a: Off", #"{"a":false}"#), ("a: ~", #"{"a":null}"#), ("a:", #"{"a":null}"#), ("a: 'yes'", #"{"a":"yes"}"#),
    (#"a: "1""#, #"{"a":"1"}"#), ("a: 12:30:45", #"{"a":"12:30:45"}"#), ("a: 1.2.3", #"{"a":"1.2.3"}"#),
    ("a: !!str 5", #"{"a":"5"}"#), ("a: 2001-01-01", #"{"a":"2001-01-01"}"#), ("a: .5", #"{"a":0.5}"#),
    ("a: 99999999999999999999", #"{"a":1e+20}"#), ("a: 500m", #"{"a":"500m"}"#),
    ("a: 18446744073709551615", #"{"a":18446744073709551615}"#), ("a: 1_000.5", #"{"a":1000.5}"#),
    ("a: 09", #"{"a":9}"#), ("a: 0o17", #"{"a":15}"#), ("a: -0x10", #"{"a":-16}"#), ("a: 0x-1", #"{"a":"0x-1"}"#),
    ("a: n", #"{"a":false}"#), ("on: 1", #"{"true":1}"#), ("1: 2", #"{"1":2}"#), ("'on': 1", #"{"on":1}"#),
    ("a: '.inf'", #"{"a":".inf"}"#), ("%YAML 1.2\n---\na: 1", #"{"a":1}"#),
    ("a: [1, {b: c}]", #"{"a":[1,{"b":"c"}]}"#),
    ("a: |\n  x\n  y\n", #"{"a":"x\ny\n"}"#), ("x: &k {p: 1}\nw: *k", #"{"x":{"p":1},"w":{"p":1}}"#),
    ("b: &b {p: 1, q: 2}\nc: {<<: *b, q: 3}", #"{"b":{"p":1,"q":2},"c":{"q":3,"p":1}}"#),
  ])
  func readsScalarsAsKubernetesDoes(_ text: String, _ expected: String) throws {
    #expect(try values(text) == [JSONValue.parse(expected)])
  }

  @Test func readsSeveralDocumentsAndSkipsEmptyOnes() throws {
    #expect(try values("---\na: 1\n---\n# nothing\n---\n~\n---\nb: 2\n...\n") == [["a": 1], ["b": 2]])
    #expect(YAML.documents("---\na: 1\n---\n\n---\nb: 2\n").map(\.number) == [1, 3])
    #expect(try values("") == [])
  }

  @Test func aBillionLaughsAreRefused() {
    var text = "l0: &l0 lol\n"
    for level in 1...12 {
      let line = (0..<10).map { _ in "*l\(level - 1)" }.joined(separator: ",")
      text += "l\(level): &l\(level) [\(line)]\n"
    }
    let clock = ContinuousClock()
    let time = clock.measure { #expect(problem(text).contains("expands to more than 200000 values")) }
    #expect(time < .seconds(5))
  }

  @Test(arguments: ["? *b\n: x", "{*b : x}", "*b : x", "[*b]: x", "- ? *b", "{a: 1}: x"])
  func aBombInAKeyIsRefused(_ key: String) {
    var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in 1...9 {
      text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ","))]\n"
    }
    text += "b: &b [*a9,*a9]\nkeys:\n  \(key.split(separator: "\n").joined(separator: "\n  "))\n"
    let time = ContinuousClock().measure { #expect(problem(text) != "none") }
    #expect(time < .seconds(2))
  }

  @Test func scriptsInManifestsAreNoBombs() throws {
    let text =
      "data:\n  run.sh: |\n    cmd && echo \"really? yes\" & wait\n    case x in *a) ;; esac 2>&1\n    ${a:-{}}: x\n"
    #expect(try values(text).count == 1)
  }

  @Test func aLongTextRepeatedIsCounted() {
    var limits = YAMLLimits()
    limits.textBytesMax = 10_000
    let text =
      "a: &a \(String(repeating: "x", count: 1000))\nb: [\((0..<20).map { _ in "*a" }.joined(separator: ","))]\n"
    #expect(problem(text, limits: limits).contains("expands to more than"))
  }

  @Test(arguments: [
    (String(repeating: "[", count: 1_000_000), "deeper than 64"),
    (String(repeating: "[", count: 100) + String(repeating: "]", count: 100), "deeper than 64"),
    ("a: 1\nb: 3\na: 2", "line 3: key \"a\" already set in map"),
    ("a: *none", "line 1: unknown anchor 'none' referenced"), ("a: [1", "YAML: line 2: did not find expected"),
    ("a: .inf", "JSON does not have"), ("~: 1", "a key that is not plain text"), ("a: \u{1}", "YAML: line 1: control"),
    ("[a]: 1", "a key that is not plain text"), ("a: 1\n b: 2", "YAML: line 2"), ("<<: [1]", "map merge requires"),
    (String(repeating: "- ", count: 70) + "x", "deeper than 64"),
    ("a: !!binary aGk=", "the tag binary is not supported"),
    ("a: !!int x", "is not a !!int"), ("a: !ruby/object x", "the tag !ruby/object is not supported"),
    ("\ta: 1", "YAML"),
    ("a: &a [*a]", "unknown anchor 'a'"),
  ])
  func refuses(_ text: String, _ message: String) { #expect(problem(text).contains(message)) }

  @Test func anAliasIsAKeyWhereItsValueIsText() throws {
    #expect(try values("a: &k x\nb: {*k : 1}") == [["a": "x", "b": ["x": 1]]])
  }

  @Test func aDepthThatAliasesAddUpToIsRefused() {
    var text = "a0: &a0 x\n"
    for level in 1...80 { text += "a\(level): &a\(level) [*a\(level - 1)]\n" }
    #expect(problem(text).contains("deeper than 64"))
  }

  @Test func aBadDocumentLeavesTheOthers() throws {
    let documents = YAML.documents("a: 1\n---\na: !!binary x\nb: [[1], {c: d}]\n---\nb: 2\n")
    #expect(documents.map(\.number) == [1, 2, 3])
    #expect(documents.map { (try? $0.content.get()) != nil } == [true, false, true])
    // What a document that cannot be taken holds is not followed without bound either.
    let time = ContinuousClock().measure {
      #expect(YAML.documents("a: !!binary x\nb: \(String(repeating: "[", count: 1_000_000))").count == 1)
    }
    #expect(time < .seconds(2))
  }

  @Test func damagedTextsEndInAnAnswer() throws {
    let good = Array("a: &x [1, 'b', \"c\\n\"]\nd: {<<: {e: f}, g: *x}\nh: |\n  text\n--- # next\n? k\n: v\n".utf8)
    var state: UInt64 = 11
    for _ in 0..<3000 {
      var bytes = good
      for _ in 0..<4 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes[Int((state >> 33) % UInt64(bytes.count))] =
          Array("[]{},:-?&*!|>'\"%@`# \n\tx\0".utf8)[Int((state >> 20) % 24)]
      }
      _ = YAML.documents(String(decoding: bytes, as: UTF8.self))
    }
  }

  @Test func aBadDocumentSaysItsLine() { #expect(problem("a: 1\nb: !!int x").hasPrefix("line 2")) }
}
