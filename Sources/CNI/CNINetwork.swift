internal import Kernel
package import Logging

/// Pod networks made by CNI plugins, as the first usable file of a directory says.
///
/// Needs what the plugins need, mostly CAP_NET_ADMIN and CAP_SYS_ADMIN. Namespaces and loopback are ours, everything else
/// is the plugins'. Pods with the host's network never come here.
package actor CNINetwork {
  package struct Setup: Sendable {
    /// As /etc/cni/net.d; need not exist.
    package var configurationDirectory: String
    /// Where plugins are looked for, in order.
    package var pluginDirectories: [String]
    /// On a file system that a reboot keeps: addresses that plugins gave outlive it, too.
    package var recordsDirectory: String
    /// On one that a reboot empties.
    package var namespacesDirectory: String
    /// The PATH of plugins.
    package var searchPath: String

    package init(
      configurationDirectory: String, pluginDirectories: [String], recordsDirectory: String,
      namespacesDirectory: String, searchPath: String = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ) {
      self.configurationDirectory = configurationDirectory
      self.pluginDirectories = pluginDirectories
      self.recordsDirectory = recordsDirectory
      self.namespacesDirectory = namespacesDirectory
      self.searchPath = searchPath
    }
  }

  /// What the directory holds.
  package enum State: Sendable, Hashable {
    /// No file at all.
    case none
    /// Files, and none that can be used.
    case broken(String)
    case ready(CNIConfiguration)
  }

  /// Where a pod is reached.
  package struct Addresses: Sendable, Hashable {
    package var ipv4: String?
    package var ipv6: String?
    package var namespacePath: String
    package var hostLink: String?
  }

  /// What `start` found from before.
  package struct Recovery: Sendable, Equatable {
    package var adopted: Set<String> = []
    /// Known pods whose network is broken, each with what is wrong.
    package var lost: [String: String] = [:]
    package var removed: [String] = []
  }

  package nonisolated let setup: Setup
  let log: Logger
  let plugins: CNIPlugins
  package internal(set) var state = State.none
  var records: [String: CNIRecord] = [:]
  private var gate = CNIGate()
  private var lastStatus: (at: Int64, problem: String?)?

  package init(setup: Setup, log: Logger, runner: @escaping CNIPlugins.Runner = CNIPlugins.child) {
    self.setup = setup
    self.log = log
    plugins = CNIPlugins(
      directories: setup.pluginDirectories, searchPath: setup.searchPath, log: log, runner: runner)
  }

  /// Gives the pod a namespace with what the plugins make in it. Again for the same pod: the same answer.
  /// Takes as long as the plugins; what they made is undone when one of them fails.
  /// - Parameter namespacePath: leads to an empty namespace that the pod must have; nil: a new one.
  package func attach(
    _ sandboxID: String, _ attachment: CNIAttachment, in namespacePath: String? = nil
  ) async throws(CNIError) -> Addresses {
    try Self.checkID(sandboxID)
    await enter(sandboxID)
    defer { gate.leave(sandboxID) }
    if let record = records[sandboxID] {
      if let result = record.result { return Self.addresses(record, result) }
      // An earlier attempt failed and could not undo itself.
      try await takeDown(record)
    }
    let configuration = try usable("attach")
    var record = CNIRecord(
      sandboxID: sandboxID, namespacePath: "\(setup.namespacesDirectory)/\(sandboxID)", configuration: configuration,
      arguments: attachment.arguments(sandboxID), runtimeConfig: try attachment.runtimeConfig(), result: nil)
    do throws(CNIError) {
      try write(record)
      try await makeNamespace(record, from: namespacePath)
      let result = try await plugins.add(configuration, context(record))
      record.result = result
      try write(record)
      return Self.addresses(record, result)
    } catch {
      do throws(CNIError) { try await takeDown(record) } catch let undo {
        log.error("undoing a failed ADD failed; stopping the pod tries again", metadata: ["error": "\(undo)"])
      }
      throw error
    }
  }

  /// DEL, then the namespace goes; a pod that has none is fine. Repeat after an error.
  package func detach(_ sandboxID: String) async throws(CNIError) {
    try Self.checkID(sandboxID)
    await enter(sandboxID)
    defer { gate.leave(sandboxID) }
    if let record = records[sandboxID] { try await takeDown(record) }
  }

  /// Asks the plugins whether the pod's network still is what they made.
  package func check(_ sandboxID: String) async throws(CNIError) {
    await enter(sandboxID)
    defer { gate.leave(sandboxID) }
    guard let record = records[sandboxID], let result = record.result else { return }
    try await plugins.check(record.configuration, context(record), result)
  }

  /// Pods whose network is of plugins, whole or not.
  package func holds(_ sandboxID: String) -> Bool { records[sandboxID] != nil }

  /// Why a new pod would get no network; nil where it would. Asks STATUS of plugins that have it, every
  /// `CNIBounds.statusSeconds` at most.
  package func problem() async -> String? {
    switch state {
    case .none: return "cni plugin not initialized: no configuration in \(setup.configurationDirectory)"
    case .broken(let problem): return "cni plugin not initialized: \(problem)"
    case .ready(let configuration):
      guard configuration.version.hasGarbageCollection else { return nil }
      let now = SystemClock.bootNanoseconds
      if let last = lastStatus, now - last.at < Int64(CNIBounds.statusSeconds * 1e9) { return last.problem }
      var problem: String?
      do throws(CNIError) { try await plugins.status(configuration) } catch { problem = error.description }
      lastStatus = (now, problem)
      return problem
    }
  }

  // MARK: One pod

  func enter(_ key: String) async {
    if gate.tryEnter(key) { return }
    await withCheckedContinuation { gate.wait(key, $0) }
  }

  func leave(_ key: String) { gate.leave(key) }
  func forgetStatus() { lastStatus = nil }

  /// Ids become file names.
  static func checkID(_ text: String) throws(CNIError) {
    let isID = text.utf8.count == 64 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    if !isID {
      throw CNIError(.invalidID, stage: "name a pod's network", "a sandbox id has 64 lowercase hexadecimal digits")
    }
  }

  private func usable(_ stage: String) throws(CNIError) -> CNIConfiguration {
    switch state {
    case .ready(let configuration): return configuration
    case .none:
      throw CNIError(
        .notReady, stage: stage, "cni plugin not initialized: no configuration in \(setup.configurationDirectory)")
    case .broken(let problem): throw CNIError(.notReady, stage: stage, "cni plugin not initialized: \(problem)")
    }
  }

  func context(_ record: CNIRecord) -> CNIRequest.Context {
    // A plugin is told of no namespace rather than of one that is gone.
    let isThere = (try? NetworkNamespace.open(record.namespacePath)) != nil
    return CNIRequest.Context(
      sandboxID: record.sandboxID, namespacePath: isThere ? record.namespacePath : "", arguments: record.arguments,
      runtimeConfig: record.runtimeConfig, pluginDirectories: setup.pluginDirectories, searchPath: setup.searchPath)
  }

  func recordPath(_ sandboxID: String) -> String { "\(setup.recordsDirectory)/\(sandboxID).json" }

  private static func addresses(_ record: CNIRecord, _ result: CNIResult) -> Addresses {
    Addresses(
      ipv4: result.ipv4, ipv6: result.ipv6, namespacePath: record.namespacePath, hostLink: result.hostLink)
  }

  private func write(_ record: CNIRecord) throws(CNIError) {
    records[record.sandboxID] = record
    do throws(SyscallError) {
      // An address that a plugin gave and nobody remembers would be lost to the node.
      try Files.writeAtomically(recordPath(record.sandboxID), record.encoded(), durable: true)
    } catch {
      throw CNIError(.kernel, stage: "write record of \(record.sandboxID)", error.description)
    }
  }

  private func makeNamespace(_ record: CNIRecord, from path: String?) async throws(CNIError) {
    do throws(SyscallError) {
      // Left by an attempt that was cut off.
      try NetworkNamespace.unpin(record.namespacePath)
      let namespace: NetworkNamespace
      if let path {
        namespace = try NetworkNamespace.open(path)
        try namespace.pin(at: record.namespacePath)
      } else {
        namespace = try await NetworkNamespace.make(pinnedAt: record.namespacePath)
      }
      try await namespace.run { () throws(SyscallError) in try RouteSocket().run([.setUp(name: "lo")]) }
    } catch {
      throw CNIError(.kernel, stage: "make network namespace \(record.namespacePath)", error.description)
    }
  }

  func takeDown(_ record: CNIRecord) async throws(CNIError) {
    try await plugins.delete(record.configuration, context(record), record.result)
    do throws(SyscallError) {
      try NetworkNamespace.unpin(record.namespacePath)
      try Files.remove(recordPath(record.sandboxID))
    } catch {
      throw CNIError(.kernel, stage: "remove network of \(record.sandboxID)", error.description)
    }
    records[record.sandboxID] = nil
  }
}
