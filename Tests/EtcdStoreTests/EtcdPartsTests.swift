import ObjectStore
import SwiftProtobuf
import Testing

@testable import EtcdStore

/// What decides, without an etcd.
@Suite struct EtcdPartsTests {
  @Test(arguments: [
    ("http://127.0.0.1:2379", "http://127.0.0.1:2379"), ("https://etcd.example", "https://etcd.example:2379"),
    ("https://[fd00::1]:4001/", "https://[fd00::1]:4001"), ("http://[::1]", "http://[::1]:2379"),
  ]) func serversAreReadAsURLs(_ text: String, _ expected: String) throws {
    #expect(try EtcdOptions.Server(text).description == expected)
  }

  @Test(arguments: [
    "", "127.0.0.1:2379", "ftp://a:1", "http://", "http://a:0", "http://a:65536", "http://a:x", "http://a/b",
    "http://[::1",
  ]) func whatIsNoServerIsRefused(_ text: String) {
    #expect(throws: EtcdOptionError.self) { try EtcdOptions.Server(text) }
  }

  @Test func optionsThatWouldNotBeUsedAreRefused() {
    #expect(throws: EtcdOptionError.self) { try EtcdOptions(servers: []) }
    #expect(throws: EtcdOptionError.self) { try EtcdOptions(servers: ["http://a"], authorityFile: "/ca") }
    #expect(throws: EtcdOptionError.self) { try EtcdOptions(servers: ["https://a"], certificateFile: "/c") }
    #expect(throws: EtcdOptionError.self) { try EtcdOptions(servers: ["https://a"], prefix: "registry") }
    #expect(throws: EtcdOptionError.self) { try EtcdOptions(servers: ["https://a"], prefix: "/") }
    #expect((try? EtcdOptions(servers: ["https://a"], prefix: "/x//"))?.prefix == "/x")
  }

  @Test func keysLieBehindThePrefixAndTheMarkerIsNone() {
    let keys = EtcdKeys(prefix: "/m")
    #expect(keys.key(keys.bytes("/pods/a")) == "/pods/a")
    #expect(keys.key(keys.marker) == nil)
    let all = keys.range(of: "")
    #expect(String(decoding: all.start, as: UTF8.self) == "/m/\0" && String(decoding: all.end, as: UTF8.self) == "/m0")
    let pods = keys.range(of: "/pods/", after: "/pods/a")
    #expect(
      String(decoding: pods.start, as: UTF8.self) == "/m/pods/a\0"
        && String(decoding: pods.end, as: UTF8.self) == "/m/pods0")
  }

  private func write(_ transaction: Transaction) throws -> EtcdWrite {
    try EtcdWrite(transaction, keys: EtcdKeys(prefix: "/m"), sealing: nil)
  }

  private func event(_ revision: Int64, _ key: String, _ text: String?) -> StoreReplica.Event {
    StoreReplica.Event(key: key, revision: revision, createRevision: 1, value: text.map { Array($0.utf8) })
  }

  @Test func aLostTransactionIsFoundByAllThatItChangedAtOneRevision() throws {
    let write = try write(
      Transaction(puts: [("/a", Array("1".utf8)), ("/b", Array("2".utf8))], deletes: ["/c", "/d"]))
    let others = [event(5, "/a", "1"), event(6, "/b", "2"), event(7, "/a", "x"), event(7, "/b", "2")]
    #expect(write.revision(in: others) == nil)
    let ours = [event(8, "/a", "1"), event(8, "/b", "2"), event(8, "/c", nil)]
    #expect(write.revision(in: others + ours + [event(9, "/z", "1")]) == 8)
    #expect(write.revision(in: others + ours + [event(8, "/z", "1")]) == nil, "somebody's larger transaction")
  }

  @Test func aFailedConditionIsToldBeforeAMovedFence() throws {
    let write = try write(Transaction(checks: ["/b": 4, "/a": 3], puts: [("/a", [1])]))
    let request = write.request(marker: 2)
    #expect(request.compare.map(\.modRevision) == [2, 3, 4])
    func answer(_ revisions: [Int64]) -> EtcdWrite.Answer {
      write.answer(
        .with { response in
          response.header.revision = 20
          response.responses = revisions.map { revision in
            .with { one in
              one.responseRange.kvs = revision == 0 ? [] : [.with { $0.modRevision = revision }]
            }
          }
        })
    }
    #expect(answer([9, 3, 4]) == .fenced(marker: 9))
    #expect(answer([9, 3, 0]) == .conflict(key: "/b", actual: 0, header: 20))
    #expect(answer([2, 7, 0]) == .conflict(key: "/a", actual: 7, header: 20))
  }

  @Test(arguments: ["x", "/", ""]) func keysThatEtcdCouldNotTellApartAreRefused(_ key: String) {
    #expect(throws: StoreError.self) { try write(Transaction(puts: [(key, [1])])) }
  }
}
