import HTTPServer
import JSON
import Kernel
import Logging
import ObjectStore
import PKI
import TestSupport
import Testing

@testable import APIServer

/// The audit log: what is written of whom.
@Suite struct AuditSecurityTests {
  private static let policy = """
    apiVersion: audit.k8s.io/v1
    kind: Policy
    omitStages: [RequestReceived]
    rules:
    - level: None
      users: ["system:nobody"]
    - level: None
      nonResourceURLs: ["/healthz*", "/version"]
    - level: Metadata
      resources:
      - group: ""
        resources: ["secrets", "serviceaccounts/token"]
    - level: RequestResponse
      verbs: ["create"]
      namespaces: ["default"]
      resources:
      - group: ""
        resources: ["configmaps"]
    - level: Request
      userGroups: ["system:masters"]
    """

  private func policy(_ text: String) throws -> AuditPolicy {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.writeAtomically("\(directory.path)/policy.yaml", Array(text.utf8))
    return try AuditPolicy(file: "\(directory.path)/policy.yaml")
  }

  private static let cases: [(AccessAttributes, [String], AuditPolicy.Level)] = [
    (AccessAttributes(verb: "get", resource: "secrets", namespace: "x", name: "s"), [], .metadata),
    (AccessAttributes(verb: "create", resource: "configmaps", namespace: "default"), [], .requestResponse),
    (AccessAttributes(verb: "create", resource: "configmaps", namespace: "other"), [], .none),
    (AccessAttributes(verb: "create", resource: "configmaps", namespace: "other"), ["system:masters"], .request),
    (AccessAttributes(verb: "get", path: "/healthz/ping"), ["system:masters"], .none),
    (AccessAttributes(verb: "get", path: "/metrics"), ["system:masters"], .request),
    (AccessAttributes(verb: "create", resource: "serviceaccounts", subresource: "token"), [], .metadata),
  ]

  @Test(arguments: cases)
  func theFirstRuleThatFitsCounts(_ asked: AccessAttributes, _ groups: [String], _ level: AuditPolicy.Level) throws {
    let policy = try policy(Self.policy)
    #expect(policy.decide(UserInfo(name: "ann", groups: groups), asked).level == level)
  }

  @Test(arguments: [
    ("apiVersion: v1\nkind: Policy\nrules: []", "audit.k8s.io/v1 Policy is expected"),
    ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []", "rules: at least one is needed"),
    ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]", "rules[0].level"),
    ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, user: a}]", "unknown field \"user\""),
    ("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [End]\nrules: [{level: None}]", "no stage"),
    ("[", "policy.yaml"), ("", "one document is expected"),
  ])
  func aPolicyThatIsNoneIsRefused(_ text: String, _ words: String) {
    do {
      _ = try policy(text)
      Issue.record("taken")
    } catch {
      #expect("\(error)".contains(words), "\(error)")
    }
  }

  /// A server with a log; gives the lines written while `body` runs.
  private func events(
    _ text: String = policy, fileBytesMax: Int = 1 << 20, filesMax: Int = 2,
    _ body: (TestServer, TestDirectory) async throws -> Void
  ) async throws -> [JSONValue] {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    var configuration = AuditLogConfiguration(file: "\(directory.path)/audit.log")
    configuration.fileBytesMax = fileBytesMax
    configuration.filesMax = filesMax
    let log = try AuditLog(policy: try policy(text), configuration: configuration, logger: Logger(label: "test"))
    let world = try await TestServer(audit: log)
    try await body(world, directory)
    await log.close()
    try await world.stop()
    let lines = try Files.readText("\(directory.path)/audit.log") ?? ""
    return try lines.split(separator: "\n").map { try JSONValue.parse(String($0)) }
  }

  @Test func requestsAreWrittenDownAsThePolicySays() async throws {
    let found = try await events { world, _ in
      try await world.send("GET", "/version")
      try await world.send(
        "POST", "/api/v1/namespaces/default/secrets",
        ["metadata": ["name": "s"], "stringData": ["password": "hunter2"]])
      try await world.send(
        "POST", "/api/v1/namespaces/default/configmaps", ["metadata": ["name": "c"], "data": ["a": "b"]])
      try await world.send(
        "GET", "/api/v1/namespaces/default/configmaps/none", headers: ["User-Agent": "tester"])
      try await world.send(
        "GET", "/api/v1/namespaces/default/secrets/s",
        peer: .certificate(commonName: "ann", organizations: []))
      try await world.send("GET", "/api/v1/secrets", peer: .anonymous)
      try await world.send("GET", "/api/v1/secrets", headers: ["Impersonate-User": "bob"])
    }
    #expect(found.count == 6, "\(found)")
    guard found.count == 6 else { return }
    #expect(found.allSatisfy { $0["stage"] == "ResponseComplete" && $0["kind"] == "Event" })
    #expect(found[0]["level"] == "Metadata" && found[0]["requestObject"] == nil)
    #expect(found[0]["objectRef"]?["resource"] == "secrets" && found[0]["responseStatus"]?["code"] == 201)
    #expect(!found.map { $0.encodedString() }.joined().contains("hunter2"))
    #expect(found[1]["requestObject"]?["data"]?["a"] == "b")
    #expect(found[1]["responseObject"]?["metadata"]?["uid"] != nil)
    #expect(found[2]["responseStatus"]?["reason"] == "NotFound" && found[2]["userAgent"] == "tester")
    #expect(found[3]["user"]?["username"] == "ann" && found[3]["responseStatus"]?["code"] == 403)
    #expect(found[3]["annotations"]?["authorization.k8s.io/decision"] == "forbid")
    #expect(found[4]["responseStatus"]?["code"] == 401 && found[4]["user"]?["username"] == "system:anonymous")
    #expect(found[5]["impersonatedUser"]?["username"] == "bob" && found[5]["responseStatus"]?["code"] == 403)
  }

  @Test func theLogIsBoundedAndPutAside() async throws {
    let all = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]"
    _ = try await events(all, fileBytesMax: 4096, filesMax: 2) { world, directory in
      for _ in 0..<100 { try await world.send("GET", "/api/v1/namespaces/default/pods") }
      let path = "\(directory.path)/audit.log"
      let deadline = ContinuousClock.now + .seconds(10)
      while !Files.exists("\(path).2"), ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(5)) }
      for name in [path, "\(path).1", "\(path).2"] {
        let status = try #require(try Files.status(name), "\(name)")
        #expect(status.sizeBytes <= 4096 && status.mode == 0o600)
      }
      #expect(!Files.exists("\(path).3"))
    }
  }

  @Test func aWatchIsWrittenDownWhenItBeginsAndWhenItEnds() async throws {
    let all = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, verbs: [watch]}]"
    let found = try await events(all) { world, _ in
      let response = try await world.respond("GET", "/api/v1/pods?watch=1&timeoutSeconds=1")
      guard case .stream(let write) = response.body else { throw TestServer.Missing("a stream") }
      try await write(HTTPBodyWriter { _ async throws(HTTPBodyError) in })
    }
    #expect(found.map { $0["stage"]?.string } == ["RequestReceived", "ResponseStarted", "ResponseComplete"])
    #expect(Set(found.map { $0["auditID"]?.string }).count == 1)
  }
}

/// Encryption at rest, from the file of keys to the bytes on the disk.
@Suite struct EncryptionSecurityTests {
  private static func file(_ providers: String, resources: String = "[secrets]") -> String {
    """
    apiVersion: apiserver.config.k8s.io/v1
    kind: EncryptionConfiguration
    resources:
    - resources: \(resources)
      providers: \(providers)
    """
  }

  private static let keyA = "{name: a, secret: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=}"
  private static let keyB = "{name: b, secret: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=}"

  private func configuration(_ text: String, _ directory: TestDirectory) throws -> EncryptionConfiguration {
    try Files.writeAtomically("\(directory.path)/encryption.yaml", Array(text.utf8))
    return try EncryptionConfiguration(file: "\(directory.path)/encryption.yaml")
  }

  private func open(_ text: String?, _ directory: TestDirectory) async throws -> ObjectStore {
    var store = StoreConfiguration()
    store.sealing = try text.map { try configuration($0, directory).sealing }
    return try await ObjectStore.open(directory: "\(directory.path)/store", configuration: store)
  }

  /// As a server does that was given no keys.
  private func openWithoutKeys(_ directory: TestDirectory) async throws -> ObjectStore {
    var configuration = StoreConfiguration()
    configuration.sealing = EncryptionConfiguration.withoutKeys
    return try await ObjectStore.open(directory: "\(directory.path)/store", configuration: configuration)
  }

  /// Whether a word stands anywhere in the store's files.
  private func isOnDisk(_ word: String, _ directory: TestDirectory) throws -> Bool {
    try ["store.db", "store.db-wal"].contains { name in
      let file = "\(directory.path)/store/\(name)"
      guard Files.exists(file) else { return false }
      return String(decoding: try Files.read(file, maxBytes: 64 << 20), as: UTF8.self).contains(word)
    }
  }

  @Test func secretsAreUnreadableOnTheDiskAndOnlyThey() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let text = Self.file("[{aesgcm: {keys: [\(Self.keyA)]}}, {identity: {}}]")
    var store = try await open(text, directory)
    _ = try await store.commit(
      Transaction(puts: [
        ("/secrets/x/a", Array("hunter-one".utf8)), ("/configmaps/x/a", Array("plain-one".utf8)),
      ]))
    _ = try await store.commit(Transaction(puts: [("/secrets/x/a", Array("hunter-two".utf8))]))
    #expect(store.get("/secrets/x/a")?.value == Array("hunter-two".utf8))
    let past = try await store.list(prefix: "/secrets/", at: 1)
    #expect(past.objects.first?.value == Array("hunter-one".utf8))
    await store.close()
    #expect(try !isOnDisk("hunter", directory) && isOnDisk("plain-one", directory))
    store = try await open(text, directory)
    #expect(store.get("/secrets/x/a")?.value == Array("hunter-two".utf8))
    await store.close()
  }

  @Test func keysAreChangedByWritingAnew() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    // Nothing encrypted, then key a, then b before a, then b alone.
    var store = try await open(nil, directory)
    for index in 0..<250 {
      _ = try await store.commit(Transaction(puts: [("/secrets/x/s\(index)", Array("hunter-\(index)".utf8))]))
    }
    await store.close()
    #expect(try isOnDisk("hunter-7", directory))
    for providers in [
      "[{aesgcm: {keys: [\(Self.keyA)]}}, {identity: {}}]", "[{aesgcm: {keys: [\(Self.keyB), \(Self.keyA)]}}]",
    ] {
      store = try await open(Self.file(providers), directory)
      let server = try Self.server(store)
      #expect(try await server.rewrite(folders: ["/secrets/"]) == 250)
      // Also while the store is open.
      #expect(try !isOnDisk("hunter", directory))
      await store.close()
    }
    store = try await open(Self.file("[{aesgcm: {keys: [\(Self.keyB)]}}]"), directory)
    #expect(store.list(prefix: "/secrets/").objects.count == 250)
    #expect(store.get("/secrets/x/s7")?.value == Array("hunter-7".utf8))
    await store.close()
    await #expect(throws: StoreError.self) {
      try await open(Self.file("[{aesgcm: {keys: [\(Self.keyA)]}}]"), directory)
    }
    await #expect(throws: StoreError.self) { try await openWithoutKeys(directory) }
    // Back to what can be read without keys.
    store = try await open(Self.file("[{identity: {}}, {aesgcm: {keys: [\(Self.keyB)]}}]"), directory)
    _ = try await Self.server(store).rewrite(folders: ["/secrets/"])
    await store.close()
    store = try await open(nil, directory)
    #expect(store.get("/secrets/x/s7")?.value == Array("hunter-7".utf8))
    await store.close()
  }

  private static func server(_ store: ObjectStore) throws -> APIServer {
    guard let network = IPv4Network("10.96.0.0/16") else { throw TestServer.Missing("network") }
    return APIServer(
      configuration: APIServerConfiguration(serviceNetwork: network, advertiseAddress: "192.0.2.1"), store: store,
      access: Access(reader: ObjectReader(store: store), nodeIdentity: { fatalError("no node is asked") }),
      logger: Logger(label: "test"))
  }

  @Test func valuesAreNotSwappedUnseen() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let sealing = try configuration(Self.file("[{aesgcm: {keys: [\(Self.keyA)]}}]"), directory).sealing
    let sealed = try #require(sealing.seal("/secrets/x/a", [1, 2, 3]))
    #expect(sealing.open("/secrets/x/a", sealed) == [1, 2, 3])
    #expect(sealing.open("/secrets/x/b", sealed) == nil)
    #expect(sealing.open("/secrets/x/a", [1, 2, 3]) == nil, "what is to be encrypted is not taken plain")
    #expect(sealing.open("/pods/x/a", [1, 2, 3]) == [1, 2, 3])
  }

  @Test(arguments: [
    (file("[{secretbox: {keys: []}}]"), "provider secretbox"), (file("[]"), "providers: at least one"),
    (file("[{aesgcm: {keys: []}}]"), "at least one key"), (file("[{identity: {}}]", resources: "[]"), "resources"),
    (file("[{aesgcm: {keys: [{name: a, secret: '!'}]}}]"), "not base64"),
    (file("[{aesgcm: {keys: [{name: a, secret: AQ==}]}}]"), "1 bytes"),
    (file("[{identity: {}}]", resources: "['*.apps']"), "only *.* is a pattern"),
    ("apiVersion: v1\nkind: Secret", "EncryptionConfiguration is expected"),
  ])
  func aFileThatIsNoneIsRefused(_ text: String, _ words: String) throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    do {
      _ = try configuration(text, directory)
      Issue.record("taken")
    } catch {
      #expect("\(error)".contains(words), "\(error)")
    }
  }

  @Test func aFileIsMadeOnceForWhoHasNone() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let file = "\(directory.path)/encryption.yaml"
    try EncryptionConfiguration.makeFile(file)
    let first = try Files.read(file)
    try EncryptionConfiguration.makeFile(file)
    #expect(try Files.read(file) == first && Files.status(file)?.mode == 0o600)
    #expect(try EncryptionConfiguration(file: file).sealing.seal("/secrets/a/b", [1])?.count ?? 0 > 28)
  }
}
