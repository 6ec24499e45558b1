import JSON
import Kernel
import KubeModel
import NodeAgent
import TestSupport
import Testing

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
        "a.yaml, document 1: Deployment default/d: kind: not supported: in a manifest of a node",
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
