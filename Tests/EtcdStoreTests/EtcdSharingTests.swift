import Kernel
import ObjectStore
import TestSupport
import Testing

@testable import EtcdStore

/// What only etcd brings along: others who write, compact, restore and refuse.
@Suite struct EtcdSharingTests {
  @Test func aServerThatFellBehindACompactionReadsAllAnewAndEndsItsWatches() async throws {
    try await EtcdLab.with { lab in
      let wire = try await Wire(to: lab.etcd.port, port: try EtcdProcess.freePort())
      let behind = try await lab.open(at: wire.url)
      let ahead = try await lab.open()
      try await ahead.put("/a/kept", "1")
      try await ahead.put("/a/gone", "1")
      _ = try await behind.events(after: 2, through: "/a/gone", "1")
      let watch = try behind.watch(prefix: "/a/", after: behind.revision)
      let before = behind.revision
      wire.cut()
      try await ahead.put("/a/kept", "2")
      _ = try await ahead.commit(Transaction(deletes: ["/a/gone"]))
      try await ahead.put("/b/new", "1")
      try await ahead.compact(keeping: 0)
      try await wire.mend()
      await #expect(throws: StoreError.compacted(oldest: ahead.revision)) {
        while try await watch.next() != nil {}
      }
      #expect(behind.lines == ahead.lines)
      #expect(behind.revision == ahead.revision)
      #expect(behind.lastChange(folders: ["/a/"]) > before, "who keeps something made of /a/ makes it anew")
      // It goes on as before.
      let next = try behind.watch(prefix: "/a/", after: behind.revision)
      let revision = try await ahead.put("/a/kept", "3")
      let batch = try #require(try await next.next())
      #expect(batch.events.map(\.revision) == [revision])
      #expect(try await behind.put("/a/kept", "4", at: revision) == revision + 1)
      wire.cut()
      await behind.close()
      await ahead.close()
    }
  }

  @Test func keysOutsideThePrefixAreLeftAloneAndOnlyMoveRevisions() async throws {
    try await EtcdLab.with { lab in
      let store = try await lab.open(prefix: "/one/")
      let other = try await lab.open(prefix: "/two")
      let first = try await store.put("/a", "1")
      try await lab.etcdctl("put", "/onet", "x")
      try await lab.etcdctl("put", "elsewhere", "x")
      let second = try await store.put("/a", "2", at: first)
      #expect(second == first + 3)
      #expect(store.lines == ["/a@\(second)=2"])
      #expect(other.lines.isEmpty)
      #expect(try await lab.etcdctl("get", "--print-value-only", "/one/a") == "2\n")
      await store.close()
      await other.close()
    }
  }

  @Test func anothersKeysAreRefusedAndLeftAsTheyAre() async throws {
    try await EtcdLab.with { lab in
      try await lab.etcdctl("put", "/registry/pods/default/web", "k8s")
      await #expect {
        _ = try await lab.open(prefix: "/registry")
      } throws: { error in
        guard case StoreError.foreign(_, let reason) = error else { return false }
        return reason.contains("/registry/pods/default/web")
      }
      try await lab.etcdctl("put", "/later/", "martlet objects 9")
      await #expect {
        _ = try await lab.open(prefix: "/later")
      } throws: { error in
        if case StoreError.newer(_, 9, 1) = error { true } else { false }
      }
      #expect(try await lab.etcdctl("get", "--prefix", "--keys-only", "/registry").contains("pods"))
    }
  }

  @Test func whatIsTooLargeForEtcdIsRefusedByNameAndTheRestGoesOn() async throws {
    try await EtcdLab.with { lab in
      let store = try await lab.open()
      for bytes in [1_800_000, 3_500_000] {
        await #expect {
          _ = try await store.commit(Transaction(puts: [("/big", [UInt8](repeating: 7, count: bytes))]))
        } throws: { error in
          if case StoreError.invalid(let why) = error { why.contains("--max-request-bytes") } else { false }
        }
      }
      await #expect {
        _ = try await store.commit(Transaction(puts: (0..<200).map { ("/many/\($0)", [1]) }))
      } throws: { error in
        if case StoreError.invalid(let why) = error { why.contains("--max-txn-ops") } else { false }
      }
      let revision = try await store.commit(Transaction(puts: [("/big", [UInt8](repeating: 7, count: 1_400_000))]))
      #expect(store.get("/big")?.revision == revision)
      await store.close()
    }
  }

  @Test func anEtcdThatWentBackIsNotWrittenTo() async throws {
    try await EtcdLab.with { lab in
      let store = try await lab.open()
      try await store.put("/a", "1")
      lab.etcd.kill()
      try await lab.copy("etcd", "copy")
      try await lab.etcd.start()
      for number in 2...5 { try await store.put("/a", "\(number)") }
      lab.etcd.kill()
      try Files.removeTree(lab.directory.path + "/etcd")
      try await lab.copy("copy", "etcd")
      try await lab.etcd.start()
      let error = await #expect(throws: StoreError.self) {
        while true { try await store.put("/b", "x") }
      }
      #expect("\(String(describing: error))".contains("start the server again"))
      await store.close()
    }
  }

  @Test func sealedValuesAreNotReadableInEtcdAndOnlyOpenWithTheirKey() async throws {
    try await EtcdLab.with { lab in
      var sealed = StoreConfiguration()
      sealed.sealing = StoreSealing(
        seal: { _, value in [0x53] + value.map { $0 ^ 0x5a } },
        open: { _, value in value.first == 0x53 ? value.dropFirst().map { $0 ^ 0x5a } : nil })
      let store = try await lab.open(sealed)
      try await store.put("/secrets/a", "hidden")
      #expect(store.text("/secrets/a") == "hidden")
      #expect(!(try await lab.etcdctl("get", "--prefix", "/martlet/secrets").contains("hidden")))
      let revision = try await store.put("/secrets/a", "other")
      #expect(
        try await store.list(prefix: "/secrets/", at: revision - 1).objects.map(\.value) == [Array("hidden".utf8)])
      await store.close()
      let again = try await lab.open(sealed)
      #expect(again.text("/secrets/a") == "other")
      await again.close()
      var other = StoreConfiguration()
      other.sealing = StoreSealing(seal: { $1 }, open: { _, _ in nil })
      await #expect {
        _ = try await lab.open(other)
      } throws: { error in
        if case StoreError.corrupt = error { "\(error)".contains("/secrets/a") } else { false }
      }
    }
  }

  @Test func tlsNeedsTheRightAuthorityAndACertificateOfOurs() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let made = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-ec", Self.certificates],
      environment: ["PATH=/usr/bin:/bin", "D=\(directory.path)"])
    try #require(made.status == .exited(0), "\(String(decoding: made.errorOutput, as: UTF8.self))")
    let path = directory.path
    let etcd = try await EtcdProcess(
      directory: path,
      tls: EtcdProcess.TLS(
        certificate: path + "/server.pem", key: path + "/server.key", clientAuthority: path + "/ca.pem"))
    let store = try await EtcdStore.open(
      EtcdOptions(
        servers: [etcd.url], authorityFile: path + "/ca.pem", certificateFile: path + "/client.pem",
        keyFile: path + "/client.key"))
    let revision = try await store.put("/a", "1")
    #expect(store.get("/a")?.revision == revision)
    await store.close()
    var strangers = [
      try EtcdOptions(servers: [etcd.url], authorityFile: path + "/ca.pem"),
      try EtcdOptions(
        servers: [etcd.url], authorityFile: path + "/other.pem", certificateFile: path + "/client.pem",
        keyFile: path + "/client.key"),
    ]
    for index in strangers.indices {
      strangers[index].openSeconds = 1
      await #expect {
        _ = try await EtcdStore.open(strangers[index])
      } throws: { error in
        if case StoreError.io(let reason) = error { reason.contains(etcd.url) } else { false }
      }
    }
    etcd.kill()
  }

  private static let certificates = """
    cd "$D"
    authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout $1.key -out $1.pem; }
    signed() { # name usage
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout $1.key -out $1.csr
      printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%s\\n' "$2" >$1.ext
      openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
    }
    authority ca; authority other; signed server serverAuth,clientAuth; signed client clientAuth
    """

  @Test func anEtcdThatIsNotThereIsToldAfterItsTime() async throws {
    var options = try EtcdOptions(servers: ["http://127.0.0.1:\(try EtcdProcess.freePort())"])
    options.openSeconds = 0.5
    await #expect {
      _ = try await EtcdStore.open(options)
    } throws: { error in
      if case StoreError.io(let reason) = error { reason.contains("is it there?") } else { false }
    }
  }
}
