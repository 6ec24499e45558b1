import JSON
import Kernel
import TestSupport
import Testing
import YAML

@testable import martlet

/// Two pods in two namespaces, restarts, and names that are the beginnings of others.
let sample = Inventory(
  pods: [
    .init(
      id: "aa11" + String(repeating: "0", count: 60), namespace: "default", name: "web", uid: "u1", ready: true,
      createdNanoseconds: 1_000_000_000, addresses: ["10.88.0.2", "fd00::2"], labels: ["app": "web"]),
    .init(
      id: "aa22" + String(repeating: "0", count: 60), namespace: "kube-system", name: "web", uid: "u2", ready: true,
      createdNanoseconds: 61_000_000_000, addresses: ["10.88.0.3"]),
    .init(
      id: "bb33" + String(repeating: "0", count: 60), namespace: "default", name: "db", uid: "u3", ready: false,
      createdNanoseconds: 2_000_000_000),
  ],
  containers: [
    .init(
      id: "c1" + String(repeating: "1", count: 62), podID: "aa11" + String(repeating: "0", count: 60), name: "nginx",
      attempt: 0, image: "nginx:1.27", state: .exited, createdNanoseconds: 3_000_000_000,
      exit: .init(code: 137, reason: "OOMKilled", finishedNanoseconds: 90_000_000_000)),
    .init(
      id: "c2" + String(repeating: "2", count: 62), podID: "aa11" + String(repeating: "0", count: 60), name: "nginx",
      attempt: 1, image: "nginx:1.27", state: .running, createdNanoseconds: 95_000_000_000),
    .init(
      id: "c3" + String(repeating: "3", count: 62), podID: "aa11" + String(repeating: "0", count: 60), name: "side",
      attempt: 0, image: "busybox\u{1b}[31m", state: .created, createdNanoseconds: 4_000_000_000),
    .init(
      id: "d1" + String(repeating: "4", count: 62), podID: "aa22" + String(repeating: "0", count: 60), name: "dns",
      attempt: 0, image: "dns:1", state: .exited, createdNanoseconds: 70_000_000_000,
      exit: .init(code: 0, reason: "Completed", finishedNanoseconds: 80_000_000_000)),
    .init(
      id: "d2" + String(repeating: "5", count: 62), podID: "bb33" + String(repeating: "0", count: 60), name: "db",
      attempt: 0, image: "db:1", state: .unknown, createdNanoseconds: 5_000_000_000),
  ])

private let now: Int64 = 100_000_000_000

@Suite struct InventoryTests {
  @Test func psTableIsGolden() throws {
    try Golden.check(sample.filtered(all: true, namespace: nil).table(nowNanoseconds: now).text(), named: "ps-all.txt")
    try Golden.check(sample.filtered(all: false, namespace: nil).table(nowNanoseconds: now).text(), named: "ps.txt")
    let one = sample.filtered(all: true, namespace: "default").table(nowNanoseconds: now)
    try Golden.check(one.text(Style(enabled: true), width: 70), named: "ps-narrow-colour.txt")
  }

  @Test func psJSONAndYAMLAreGolden() throws {
    let value = sample.filtered(all: true, namespace: nil).json
    try Golden.check(value.encodedString(pretty: true), named: "ps.json")
    try Golden.check(YAML.encoded(value), named: "ps.yaml")
  }

  @Test func podTableIsGolden() throws {
    try Golden.check(sample.podTable(nowNanoseconds: now).text(), named: "pods.txt")
  }

  @Test(arguments: [
    ("side", "default/web/side"), ("web/side", "default/web/side"), ("default/web/side", "default/web/side"),
    ("dns", "kube-system/web/dns"), ("c3", "default/web/side"), ("kube-system/web", "kube-system/web"),
    ("aa1", "default/web"), ("db/db", "default/db/db"), ("default/db", "default/db"),
  ])
  func wordsNameWhatPeopleMean(_ word: String, _ path: String) throws {
    #expect(try sample.find(word).path(in: sample) == path)
  }

  @Test func theNewestContainerOfANameIsMeant() throws {
    guard case .container(let found) = try sample.find("nginx") else {
      Issue.record("no container")
      return
    }
    #expect(found.attempt == 1)
    // The older one is there by its id.
    guard case .container(let older) = try sample.find("c11") else {
      Issue.record("no container")
      return
    }
    #expect(older.attempt == 0)
  }

  @Test func anAmbiguousWordIsRefusedWithTheCandidates() throws {
    let failure = #expect(throws: Failure.self) { try sample.find("web") }
    #expect(failure?.message == "web names 2 things")
    #expect(failure?.hint?.contains("pod        aa1100000000  default/web") == true)
    #expect(failure?.hint?.contains("kube-system/web") == true)
    #expect(failure?.code == 1)
    // A pod and its container with the same name.
    #expect(throws: Failure.self) { try sample.find("db") }
    #expect(throws: Failure.self) { try sample.find("aa") }
  }

  @Test(arguments: ["", "nothing", "zz"]) func whatIsNotThereHasItsOwnExitCode(_ word: String) {
    let failure = #expect(throws: Failure.self) { try sample.find(word) }
    #expect(failure?.code == Failure.notFoundCode)
  }

  @Test func aPodStandsForItsOnlyContainer() throws {
    #expect(try sample.container("kube-system/web").name == "dns")
    #expect(try sample.container("default/web", in: "side").name == "side")
    let several = #expect(throws: Failure.self) { try sample.container("default/web") }
    #expect(several?.message == "pod default/web has several containers: nginx, side")
    let missing = #expect(throws: Failure.self) { try sample.container("default/web", in: "x") }
    #expect(missing?.code == Failure.notFoundCode)
  }

  @Test func aSandboxThatWasReplacedDoesNotMakeItsPodAmbiguous() throws {
    var both = sample
    both.pods.append(
      .init(
        id: "ee" + String(repeating: "6", count: 62), namespace: "default", name: "db", uid: "u3", attempt: 1,
        ready: true, createdNanoseconds: 9_000_000_000))
    #expect(try both.pod("db").attempt == 1)
    #expect(try both.pod("default/db").attempt == 1)
  }
}
