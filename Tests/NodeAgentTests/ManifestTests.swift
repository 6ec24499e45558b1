import JSON
import Kernel
import KubeModel
import NodeAgent
import TestSupport
import Testing

private func values(_ text: String) throws -> [JSONValue] { try YAMLDocument.all(text).map { try $0.content.get() } }

private func problem(_ text: String, limits: ManifestLimits = ManifestLimits()) -> String {
  for document in YAMLDocument.all(text, limits: limits) {
    if case .failure(let error) = document.content { return error.description }
  }
  return "none"
}

@Suite struct YAMLDocumentTests {
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
    #expect(YAMLDocument.all("---\na: 1\n---\n\n---\nb: 2\n").map(\.number) == [1, 3])
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
    var limits = ManifestLimits()
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

private let goodPod = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, image: i}]}\n"

private func pod(_ name: String) -> String { goodPod.replacing("NAME", with: name) }

private func set(_ files: [String: String]) -> ManifestSet {
  ManifestSet(files: files.mapValues { Array($0.utf8) }, nodeName: "n")
}

@Suite struct ManifestSetTests {
  @Test func aBadDocumentIsNamedAndTheOthersCount() {
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: c, imagee: i}]}\n"
    let found = set(["a.yaml": "\(pod("one"))---\n\(bad)---\n\(pod("two"))", "b.json": "{", "c.yaml": pod("three")])
    #expect(found.pods.map(\.name) == ["one", "two", "three"])
    #expect(
      found.errors.map(\.description) == [
        "a.yaml, document 2: Pod default/bad: spec.containers[0].imagee: unknown field",
        "b.json, document 1: JSON, byte 1: expected a member's name",
      ])
  }

  @Test func kindsAndFieldsThatAreNotDoneAreRefused() {
    let found = set([
      "a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
      "b.yaml":
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}], externalIPs: [1.2.3.4]}\n",
    ])
    #expect(
      found.errors.map(\.description) == [
        "a.yaml, document 1: Deployment default/d: kind: not supported: Deployment of apps/v1; "
          + "known here: v1/ConfigMap, v1/Pod, v1/Secret, v1/Service",
        "b.yaml, document 1: Service default/s: spec.externalIPs: not supported",
      ])
  }

  @Test func twoObjectsOfOneNameAreAnErrorOfTheSecond() {
    let found = set(["a.yaml": pod("x"), "b.yaml": pod("x")])
    #expect(found.pods.count == 1)
    #expect(
      found.errors.map(\.description) == [
        #"b.yaml, document 1: Pod default/x: metadata.name: "x" is already defined in a.yaml, document 1"#
      ])
  }

  @Test func aPodsUidFollowsItsContentItsFileAndItsNode() {
    let first = set(["a.yaml": pod("x")]).pods[0].object.metadata.uid
    #expect(set(["a.yaml": "# comment\n" + pod("x")]).pods[0].object.metadata.uid == first)
    #expect(set(["b.yaml": pod("x")]).pods[0].object.metadata.uid != first)
    #expect(set(["a.yaml": pod("x").replacing("image: i", with: "image: j")]).pods[0].object.metadata.uid != first)
    #expect(ManifestSet(files: ["a.yaml": Array(pod("x").utf8)], nodeName: "m").pods[0].object.metadata.uid != first)
    #expect(first?.split(separator: "-").map(\.count) == [8, 4, 4, 4, 12])
  }

  @Test func aPodForAnotherNodeIsRefused() {
    let found = set(["a.yaml": pod("x").replacing("spec: {", with: "spec: {nodeName: other, ")])
    #expect(found.errors.map(\.field) == ["spec.nodeName"])
  }
}

@Suite struct ManifestDirectoryTests {
  @Test func readsOnlyManifestsAndNamesWhatItCannotRead() throws {
    let scratch = try TestDirectory()
    defer { try? scratch.remove() }
    for name in ["a.yaml", "b.yml", "c.json", ".hidden.yaml", "d.yaml.tmp.00", "readme.txt", ".yaml"] {
      try Files.writeAtomically("\(scratch.path)/\(name)", Array("x".utf8))
    }
    try Files.makeDirectories("\(scratch.path)/dir.yaml")
    try Files.writeAtomically("\(scratch.path)/big.yaml", [UInt8](repeating: 0x20, count: (4 << 20) + 1))
    let reading = try ManifestDirectory(path: scratch.path).read()
    #expect(reading.files.keys.sorted() == ["a.yaml", "b.yml", "c.json"])
    #expect(reading.errors.map(\.place.file).sorted() == ["big.yaml", "dir.yaml"])
  }
}
