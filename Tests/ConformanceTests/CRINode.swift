import CRIClient
import CRIModel
import JSON
import Kernel
import SwiftProtobuf
import Synchronization
import TestSupport

/// A daemon of one test, in a network namespace of its own with nothing but loopback, driven over its socket. It can be
/// killed and started again on the same directories.
final class CRINode: Sendable {
  let directory: TestDirectory
  let leaks: LeakCheck
  private let network: LabNamespace
  private let daemon = Mutex<ChildProcess?>(nil)

  struct Failure: Error, CustomStringConvertible { let description: String }

  var path: String { directory.path }
  var socketPath: String { "\(path)/run/martlet.sock" }
  var podsDirectory: String { "\(path)/run/pods" }

  private init(_ directory: TestDirectory, _ network: LabNamespace) {
    self.directory = directory
    self.network = network
    leaks = LeakCheck(token: directory.token)
  }

  /// Runs `body` against a fresh daemon with an image; afterwards every pod is removed and nothing may be left.
  static func with(
    missingControllers: String = "warn", _ body: (CRINode, CRIClient) async throws -> Void
  ) async throws {
    let directory = try TestDirectory()
    for name in ["root", "run", "logs"] { try Files.makeDirectories("\(directory.path)/\(name)") }
    let network = try await LabNamespace.make(at: "\(directory.path)/net")
    let node = CRINode(directory, network)
    var text = "version = 1\nmissing-controllers = \"\(missingControllers)\"\n"
    text += "cgroup-parent = \"\(directory.token)\"\n"
    try Files.writeAtomically("\(directory.path)/config.toml", Array(text.utf8))
    do {
      try node.start()
      try await node.connected { client in
        try await node.importBusybox(client)
        try await body(node, client)
        for pod in try await client.listPodSandboxes() { try await client.removePodSandbox(pod.id) }
      }
      try await node.stop()
      try node.expectNothingLeft()
    } catch {
      let text = (try? Files.readText("\(directory.path)/martletd.log")) ?? nil
      // A failed test leaves no pods either; its directory stays, to be looked at.
      try? await node.removeAllPods()
      try? await node.stop()
      try? network.remove()
      throw Failure(description: "\(error)\nthe daemon said: \(text?.suffix(4000) ?? "nothing")")
    }
    try network.remove()
    try directory.remove()
  }

  private func removeAllPods() async throws {
    guard daemon.withLock({ $0 != nil }) else { return }
    try await connected { client in
      for pod in try await client.listPodSandboxes() { try await client.removePodSandbox(pod.id) }
    }
  }

  func start() throws {
    let log = try Files.open(
      "\(path)/martletd.log", flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append, mode: 0o600)
    let output = log.withRaw { $0 }
    let martletd = try BuiltPrograms.path("martletd")
    try daemon.withLock { (child: inout sending ChildProcess?) in
      child = try ChildProcess.start(
        "/usr/bin/nsenter",
        arguments: [
          "nsenter", "--net=\(path)/net", martletd, "--root", "\(path)/root", "--run", "\(path)/run", "--config",
          "\(path)/config.toml", "--log-level", "debug",
        ], environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)"], stdio: [nil, output, output])
    }
  }

  /// The daemon's process.
  func processID() throws -> Int32 {
    // nsenter became it by exec.
    let found = daemon.withLock { $0?.processID }
    guard let found else { throw Failure(description: "the daemon does not run") }
    return found
  }

  /// SIGKILL, as a crash is one.
  func kill() throws { try end(signal: 9) }

  /// SIGTERM; waits until it has ended.
  func stop() async throws {
    try await onFreshThread { [self] () throws(SyscallError) in try end(signal: 15) }
  }

  private func end(signal: Int32) throws(SyscallError) {
    try daemon.withLock { (child: inout sending ChildProcess?) throws(SyscallError) in
      guard let running = child.take() else { return }
      try running.signal(signal)
      _ = try running.wait()
    }
  }

  func connected<R: Sendable>(_ body: (CRIClient) async throws -> R) async throws -> R {
    var options = CRIClient.Options()
    options.waitsForServer = true
    options.queryTimeout = .seconds(20)
    options.changeTimeout = .seconds(40)
    return try await CRIClient.connected(to: socketPath, options: options, body)
  }

  func expectNothingLeft() throws {
    var left = try leaks.remains()
    for name in ["run/pods", "run/netns", "root/containers"] where Files.exists("\(path)/\(name)") {
      left += try Directory(path: "\(path)/\(name)").list().map { "file \(name)/\($0.name)" }
    }
    // The namespace that the test itself pinned.
    left.removeAll { $0 == "mount \(path)/net" }
    // The network keeps ready namespaces for the next pod; the daemon's end drops them.
    guard left.isEmpty else { throw Failure(description: "left over: \(left)") }
  }

  /// While the daemon runs: its network keeps some ready namespaces and links, and nothing of a pod may be left.
  func expectNothingLeftOfPods() throws {
    var left = try leaks.remains().filter { $0.hasPrefix("cgroup") || $0.contains("martlet-shim") }
    for name in ["run/pods", "root/containers"] {
      left += try Directory(path: "\(path)/\(name)").list().map { "file \(name)/\($0.name)" }
    }
    guard left.isEmpty else { throw Failure(description: "left over: \(left)") }
  }

  // MARK: An image, pods and containers

  private func importBusybox(_ client: CRIClient) async throws {
    let outcome = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-euc", Self.archiveScript, "sh", path],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], timeoutSeconds: 60)
    guard outcome.status == .exited(0) else {
      throw Failure(description: "archive: \(String(decoding: outcome.errorOutput, as: UTF8.self))")
    }
    _ = try await client.importImage(MartletImportImageRequest.with { $0.path = "\(path)/image.tar" }) { _ in }
  }

  /// A docker-archive of Debian's static busybox, one name an applet, with accounts to resolve.
  private static let archiveScript = """
    cd "$1"; mkdir -p rootfs/bin rootfs/etc rootfs/tmp rootfs/home/app archive
    cp /bin/busybox rootfs/bin/busybox
    for applet in sh cat sleep echo ls head true false env id ps pwd hostname yes dd mknod kill touch stat wc grep; do
      ln rootfs/bin/busybox rootfs/bin/$applet
    done
    echo 'not a program' > rootfs/bin/text; chmod 644 rootfs/bin/text
    printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000:app:/home/app:/bin/sh\\n' > rootfs/etc/passwd
    printf 'root:x:0:\\napp:x:1000:\\nextra:x:2000:app\\n' > rootfs/etc/group
    tar --owner=0 --group=0 --numeric-owner -C rootfs -cf archive/layer.tar .
    sum=$(sha256sum archive/layer.tar | cut -d ' ' -f 1)
    printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","FROM_IMAGE=yes"],"Cmd":["sleep","1000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$sum" > archive/config.json
    printf '[{"Config":"config.json","RepoTags":["localhost/busybox:test"],"Layers":["layer.tar"]}]' > archive/manifest.json
    tar -C archive -cf image.tar .
    rm -r rootfs archive
    """

  func pod(_ name: String, attempt: UInt32 = 0) -> CRIPodSandboxConfig {
    var config = CRIPodSandboxConfig()
    config.metadata.name = name
    config.metadata.namespace = "default"
    config.metadata.uid = "\(name)-uid"
    config.metadata.attempt = attempt
    config.hostname = name
    config.logDirectory = "\(path)/logs/\(name)"
    config.labels = ["app": name]
    config.linux.securityContext.namespaceOptions.pid = .container
    return config
  }

  func container(_ name: String, _ command: [String], attempt: UInt32 = 0) -> CRIContainerConfig {
    var config = CRIContainerConfig()
    config.metadata.name = name
    config.metadata.attempt = attempt
    config.image.image = "localhost/busybox:test"
    config.command = command
    config.logPath = "\(name).log"
    config.linux.securityContext.namespaceOptions.pid = .container
    return config
  }

  /// Creates and starts a container.
  func run(
    _ client: CRIClient, in pod: String, _ sandbox: CRIPodSandboxConfig, _ config: CRIContainerConfig
  ) async throws -> String {
    let id = try await client.createContainer(podSandboxID: pod, config: config, sandboxConfig: sandbox)
    try await client.startContainer(id)
    return id
  }

  func log(_ pod: String, _ container: String) throws -> String {
    try Files.readText("\(path)/logs/\(pod)/\(container).log", maxBytes: 16 << 20) ?? ""
  }

  /// The status once it has the state; fails after ten seconds.
  func status(_ client: CRIClient, _ id: String, _ state: CRIContainerState) async throws -> CRIContainerStatus {
    let deadline = ContinuousClock.now + .seconds(10)
    while true {
      let status = try await client.containerStatus(id).status
      if status.state == state { return status }
      guard ContinuousClock.now < deadline else { throw Failure(description: "stays \(status.state), not \(state)") }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  func shimPID(_ client: CRIClient, _ pod: String) async throws -> Int32 {
    let info = try await client.podSandboxStatus(pod, verbose: true).info["info"] ?? "{}"
    guard let pid = try JSONValue.parse(info)["pid"]?.integer else { throw Failure(description: "no pid in \(info)") }
    return Int32(pid)
  }
}
