import CRIClient
import CRIModel
import Kernel
import OCISpec
import SwiftProtobuf

/// A `martletd` of the benchmark's own, on its own directories.
final class Daemon: Sendable {
  let run: String
  let root: String
  private let child: ChildProcess

  var processID: Int32 { child.processID }
  var socket: String { "\(run)/martlet.sock" }

  /// Above every sandbox's cgroup, so that what is left over can be found.
  static let cgroupParent = "mt-bench"

  static let configuration = """
    version = 1
    missing-controllers = "warn"
    cgroup-parent = "\(cgroupParent)"
    log-level = "warning"

    """

  init(work: String) throws {
    run = "\(work)/run"
    root = "\(work)/root"
    try Files.makeDirectories(run)
    try Files.makeDirectories(root)
    try Files.writeAtomically("\(work)/config.toml", Array(Self.configuration.utf8))
    let program = "\(try programDirectory())/martletd"
    child = try ChildProcess.start(
      program, arguments: [program, "--config", "\(work)/config.toml", "--root", root, "--run", run],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], stdio: [nil, 2, 2])
  }

  /// Asks it to end, and waits.
  func stop() async throws {
    try child.signal(15)
    _ = try await onFreshThread { [self] () throws(SyscallError) -> ExitStatus in try child.wait() }
    if let hierarchy = try? CgroupHierarchy.discover(), let path = try? CgroupPath(Self.cgroupParent) {
      try? hierarchy.group(path).remove()
    }
  }

  private func waitUntilListening() async throws {
    let end = ContinuousClock.now + Self.startTimeout
    while !Files.exists(socket) {
      if let status = try child.poll() { throw BenchError("martletd ended with \(status); its log is above") }
      guard ContinuousClock.now < end else { throw BenchError("martletd made no socket in \(Self.startTimeout)") }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  private static let startTimeout: Duration = .seconds(30)

  /// Runs `body` with a client of a daemon that is ready, then stops the daemon.
  static func serving<Result: Sendable>(
    work: String, _ body: (Daemon, CRIClient) async throws -> Result
  ) async throws -> Result {
    let daemon = try Daemon(work: work)
    do {
      try await daemon.waitUntilListening()
      let result = try await CRIClient.connected(to: daemon.socket) { client in
        _ = try await client.version()
        return try await body(daemon, client)
      }
      try await daemon.stop()
      return result
    } catch {
      try? await daemon.stop()
      throw error
    }
  }
}

/// Requests of the benchmarks.
enum Requests {
  static let image = "localhost/true:latest"

  static func importImage(_ client: CRIClient, from images: String) async throws {
    _ = try await client.importImage(
      MartletImportImageRequest.with {
        $0.path = "\(images)/true"
        $0.reference = image
      }, onProgress: { _ in })
  }

  static func pod(_ number: Int, logs: String) -> CRIPodSandboxConfig {
    CRIPodSandboxConfig.with {
      $0.metadata.name = "bench-\(number)"
      $0.metadata.namespace = "default"
      $0.metadata.uid = "bench-\(number)"
      $0.hostname = "bench-\(number)"
      $0.logDirectory = "\(logs)/\(number)"
      $0.linux.securityContext.namespaceOptions.pid = .container
    }
  }

  /// - Parameter waits: a process that waits for a signal instead of one that ends at once.
  static func container(_ name: String, waits: Bool) -> CRIContainerConfig {
    CRIContainerConfig.with {
      $0.metadata.name = name
      $0.image.image = image
      $0.command = ["/bin/true"]
      $0.args = waits ? ["wait"] : []
      $0.logPath = "\(name).log"
      $0.linux.securityContext.noNewPrivs = true
      $0.linux.securityContext.seccomp.profileType = .runtimeDefault
      $0.linux.securityContext.namespaceOptions.pid = .container
      $0.linux.securityContext.maskedPaths = RuntimeDefaults.maskedPaths
      $0.linux.securityContext.readonlyPaths = RuntimeDefaults.readonlyPaths
    }
  }
}
