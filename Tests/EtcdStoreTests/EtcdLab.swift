import EtcdStore
import Kernel
import ObjectStore
import Synchronization
import TestSupport

/// An etcd of a test's own, and stores on it.
struct EtcdLab: Sendable {
  let directory: TestDirectory
  let etcd: EtcdProcess

  /// Runs `body` with an etcd of its own, when few others run one.
  static func with(_ body: (EtcdLab) async throws -> Void) async throws {
    await EtcdProcess.takeSlot()
    do {
      let directory = try TestDirectory()
      let lab = EtcdLab(directory: directory, etcd: try await EtcdProcess(directory: directory.path))
      do {
        try await body(lab)
      } catch {
        lab.etcd.kill()
        try directory.remove()
        throw error
      }
      lab.etcd.kill()
      try directory.remove()
    } catch {
      await EtcdProcess.giveSlot()
      throw error
    }
    await EtcdProcess.giveSlot()
  }

  func open(
    _ configuration: StoreConfiguration = StoreConfiguration(), prefix: String = "/martlet", at url: String? = nil
  ) async throws -> ObjectStore {
    var options = try EtcdOptions(servers: [url ?? etcd.url], prefix: prefix)
    options.requestSeconds = 2
    return try await EtcdStore.open(options, configuration: configuration)
  }

  func copy(_ from: String, _ to: String) async throws {
    let outcome = try await ChildProcess.run(
      "/bin/cp", arguments: ["cp", "-a", "\(directory.path)/\(from)", "\(directory.path)/\(to)"])
    guard outcome.status == .exited(0) else { throw EtcdProcess.Failed(description: "cp \(from) \(to)") }
  }

  /// What etcd's own client says.
  @discardableResult
  func etcdctl(_ arguments: String...) async throws -> String {
    let outcome = try await ChildProcess.run(
      "/usr/bin/etcdctl", arguments: ["etcdctl", "--endpoints", etcd.url] + arguments,
      environment: ["ETCDCTL_API=3", "PATH=/usr/bin:/bin"], timeoutSeconds: 20)
    guard outcome.status == .exited(0) else {
      throw EtcdProcess.Failed(
        description: "etcdctl \(arguments): \(String(decoding: outcome.errorOutput, as: UTF8.self))")
    }
    return String(decoding: outcome.output, as: UTF8.self)
  }
}

/// A wire to a port that can be cut: socat, with each connection in a process of the same group.
final class Wire: Sendable {
  let port: UInt16
  private let target: UInt16
  private let socat = Mutex<ChildProcess?>(nil)

  init(to target: UInt16, port: UInt16) async throws {
    self.target = target
    self.port = port
    try await mend()
  }

  var url: String { "http://127.0.0.1:\(port)" }

  func mend() async throws {
    try socat.withLock {
      $0 = try ChildProcess.start(
        "/usr/bin/socat",
        arguments: [
          "socat", "TCP4-LISTEN:\(port),bind=127.0.0.1,fork,reuseaddr,nodelay", "TCP4:127.0.0.1:\(target),nodelay",
        ], environment: ["PATH=/usr/bin:/bin"], newSession: true)
    }
    for _ in 0..<200 {
      if (try? LoopbackSocket.connect(port: port)) != nil { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw EtcdProcess.Failed(description: "socat does not listen at \(port)")
  }

  /// Ends every connection at once, whatever was on its way.
  func cut() {
    socat.withLock { process in
      if let group = process?.processID { signalGroup(group) }
      process = nil
    }
  }

  deinit { cut() }
}

extension ObjectStore {
  @discardableResult
  func put(_ key: String, _ text: String, at revision: Int64? = nil) async throws(StoreError) -> Int64 {
    try await commit(
      Transaction(checks: revision.map { [key: $0] } ?? [:], puts: [(key: key, value: Array(text.utf8))]))
  }

  func text(_ key: String) -> String? { get(key).map { String(decoding: $0.value, as: UTF8.self) } }

  /// All objects as `key@revision=value`.
  var lines: [String] {
    list(prefix: "").objects.map { "\($0.key)@\($0.revision)=\(String(decoding: $0.value, as: UTF8.self))" }
  }

  /// Every event after a revision up to and with the one that makes `key` be `text`.
  func events(after revision: Int64, through key: String, _ text: String) async throws -> [StoreEvent] {
    let watch = try watch(prefix: "", after: revision)
    var events: [StoreEvent] = []
    while let batch = try await watch.next() {
      events += batch.events
      if batch.events.contains(where: { $0.object.key == key && $0.object.value == Array(text.utf8) }) { break }
    }
    return events
  }
}

extension StoreEvent {
  var change: WriteHistory.Change {
    WriteHistory.Change(
      revision: revision, key: object.key,
      value: kind == .delete ? nil : String(decoding: object.value, as: UTF8.self), previous: previous?.revision ?? 0)
  }
}
