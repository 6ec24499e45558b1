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
    ("a: [1, {b: c}]", #"{"a":[1,{"b":"c"}]}"#),
    ("a: |\n  x\n  y\n", #"{"a":"x\ny\n"}"#), ("x: &k {p: 1}\ny: *k", #"{"x":{"p":1},"y":{"p":1}}"#),
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
  func aBombInAKeyIsRefusedBeforeItIsRead(_ key: String) {
    var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in 1...9 {
      text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ","))]\n"
    }
    text += "b: &b [*a9,*a9]\nkeys:\n  \(key.split(separator: "\n").joined(separator: "\n  "))\n"
    let time = ContinuousClock().measure { #expect(problem(text).contains("a key that is not plain text")) }
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
    (String(repeating: "[", count: 100_000), "YAML"),
    (String(repeating: "[", count: 100) + String(repeating: "]", count: 100), "deeper than 64"),
    ("a: 1\na: 2", "YAML"), ("a: *none", "YAML"), ("a: [1", "YAML"),
    ("a: !!binary aGk=", "the tag binary is not supported"),
    ("a: !!int x", "is not a !!int"), ("a: !ruby/object x", "the tag !ruby/object is not supported"),
    ("\ta: 1", "YAML"),
    ("a: &a [*a]", "YAML"),
  ])
  func refuses(_ text: String, _ message: String) { #expect(problem(text).contains(message)) }

  @Test func aBadDocumentSaysItsLine() { #expect(problem("a: 1\nb: !!int x").hasPrefix("line 2")) }
}
