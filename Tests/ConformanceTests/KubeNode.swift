import JSON
import Kernel
import TestSupport
import Testing

/// A cluster of one suite: `martlet up` in a network namespace with nothing but loopback, and the strangers' clients that
/// `hack/clients` fetches to drive it with.
final class KubeNode: Sendable {
  let directory: TestDirectory
  let leaks: LeakCheck
  private let network: LabNamespace
  private let up: ChildProcess
  let clients: String

  static let name = "node1"

  /// The cluster of the suite that runs: `@Suite(.cluster)`.
  @TaskLocal static var current: KubeNode?

  struct Failure: Error, CustomStringConvertible { let description: String }

  var path: String { directory.path }
  var kubeconfig: String { "\(path)/root/server/admin.kubeconfig" }

  private init(_ directory: TestDirectory, _ network: LabNamespace, _ up: consuming ChildProcess, clients: String) {
    self.directory = directory
    self.network = network
    self.up = up
    self.clients = clients
    leaks = LeakCheck(token: directory.token)
  }

  /// Runs `body` against a fresh cluster with the images `localhost/busybox:1` and `:2`; afterwards nothing may be left.
  /// - Parameters:
  ///   - flags: further ones of `martlet up`.
  ///   - prepare: what is done with its network before it starts; `body` undoes it.
  static func with(
    flags: [String] = [], prepare: (LabNamespace, _ directory: String) async throws -> Void = { _, _ in },
    _ body: (KubeNode) async throws -> Void
  ) async throws {
    let clients = try foundClients()
    let directory = try TestDirectory()
    for name in ["root", "run", "home"] { try Files.makeDirectories("\(directory.path)/\(name)") }
    let network = try await LabNamespace.make(at: "\(directory.path)/net")
    try await prepare(network, directory.path)
    let node = try start(directory, network, clients: clients, flags: flags)
    do {
      try await node.waitUntilReady()
      try await node.importImages()
      try await body(node)
    } catch {
      let logs = node.logs()
      try? await node.reset()
      try? network.remove()
      throw Failure(description: "\(error)\n\(logs)")
    }
    try await node.reset()
    try network.remove()
    try directory.remove()
  }

  /// `MARTLET_CLIENTS` names their directory; it is .build/clients of this package otherwise.
  private static func foundClients() throws -> String {
    let package = Files.parent(of: Files.parent(of: Files.parent(of: #filePath)))
    let directory = environmentVariable("MARTLET_CLIENTS") ?? "\(package)/.build/clients"
    for name in ["kubectl", "kubectl-1.20", "python/kubernetes"] where !Files.exists("\(directory)/\(name)") {
      throw Failure(description: "\(directory)/\(name) is not there: run hack/clients, or set MARTLET_CLIENTS")
    }
    return directory
  }

  private static func start(
    _ directory: TestDirectory, _ network: LabNamespace, clients: String, flags: [String]
  ) throws -> KubeNode {
    let path = directory.path
    try Files.writeAtomically(
      "\(path)/config.toml",
      Array("version = 1\nmissing-controllers = \"warn\"\ncgroup-parent = \"\(directory.token)\"\n".utf8))
    let log = try Files.open("\(path)/up.log", flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600)
    let output = log.withRaw { $0 }
    let up = try ChildProcess.start(
      "/usr/bin/nsenter",
      arguments: ["nsenter", "--net=\(path)/net", try BuiltPrograms.path("martlet"), "up"] + places(path) + flags,
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)/home"], stdio: [nil, output, output])
    return KubeNode(directory, network, up, clients: clients)
  }

  private static func places(_ path: String) -> [String] {
    ["--root", "\(path)/root", "--run", "\(path)/run", "--config", "\(path)/config.toml", "--node-name", name]
  }

  private func waitUntilReady() async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline {
      if try (Files.readText("\(path)/up.log") ?? "").contains("Martlet is ready") { return }
      guard try up.poll() == nil else { break }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw Failure(description: "martlet up is not ready")
  }

  /// The ends of what the cluster's parts said.
  private func logs() -> String {
    ["up.log", "run/logs/martletd.log", "run/logs/server.log", "run/logs/node.log"].map { name in
      let text = (try? Files.readText("\(path)/\(name)", maxBytes: 64 << 20)) ?? nil
      return "\(name): \((text ?? "nothing").suffix(1500))"
    }.joined(separator: "\n")
  }

  private func reset() async throws {
    let answer = try await run([try BuiltPrograms.path("martlet"), "up", "--reset"] + Self.places(path), seconds: 90)
    try? up.signal(9)
    _ = try await onFreshThread { [self] () throws(SyscallError) in try up.wait() }
    // The parent of all pods' groups is the configuration's; it goes when nothing is below it.
    if let mount = try MountInfo.current().first(where: { $0.fileSystem == "cgroup2" }) {
      let group = "\(mount.mountPoint)/\(directory.token)"
      _ = try await run(
        ["sh", "-c", "for turn in $(seq 50); do [ -e \(group) ] || break; rmdir \(group) && break; sleep 0.1; done"])
    }
    guard answer.code == 0 else { throw Failure(description: "up --reset: \(answer.errors)\(logs())") }
    var left = try leaks.remains().filter { $0 != "mount \(path)/net" }
    for name in ["root", "run"] where Files.exists("\(path)/\(name)") { left.append("directory \(name)") }
    left += try await network.links().filter { $0 != "lo" }.map { "link \($0)" }
    let rules = try await network.command("nft", "list", "ruleset")
    if !rules.isEmpty { left.append("rules \(rules)") }
    guard left.isEmpty else { throw Failure(description: "left over: \(left)") }
  }

  /// Runs a program in the cluster's network. Clients keep what they know of a server in HOME.
  func run(
    _ words: [String], environment: [String] = [], input: [UInt8] = [], seconds: Double = 60
  ) async throws -> CLINode.Answer {
    let usual = [
      "PATH=\(clients):/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)/home", "TERM=xterm", "TZ=UTC",
      "KUBECONFIG=\(kubeconfig)", "PYTHONPATH=\(clients)/python", "PYTHONDONTWRITEBYTECODE=1",
    ]
    let given = Set(environment.map { $0.prefix { $0 != "=" } })
    let outcome = try await ChildProcess.run(
      "/usr/bin/nsenter", arguments: ["nsenter", "--net=\(path)/net"] + words,
      environment: usual.filter { !given.contains($0.prefix { $0 != "=" }) } + environment, input: input,
      timeoutSeconds: seconds)
    return CLINode.Answer(
      code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
      errors: String(decoding: outcome.errorOutput, as: UTF8.self))
  }

  // MARK: Images

  /// Makes an OCI layout of busybox with a link per applet, and imports it under two names.
  private func importImages() async throws {
    let script =
      Self.layoutScript + """

        for version in 1 2; do
          "$2" --run "$1/run" image import --reference "localhost/busybox:$version" "$1/layout"
        done
        rm -r "$1/layout"
        """
    let answer = try await run(["sh", "-euc", script, "sh", path, try BuiltPrograms.path("martlet")])
    guard answer.code == 0 else { throw Failure(description: "images: \(answer.errors)") }
  }

  private static let layoutScript = """
    cd "$1"; mkdir -p rootfs/bin rootfs/tmp layout/blobs/sha256
    cp /bin/busybox rootfs/bin/busybox
    for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln rootfs/bin/busybox "rootfs/bin/$applet"; done
    tar --owner=0 --group=0 --numeric-owner -C rootfs -cf layer.tar .
    put() { sum=$(sha256sum "$1" | cut -d ' ' -f 1); bytes=$(stat -c %s "$1"); cp "$1" "layout/blobs/sha256/$sum"; }
    put layer.tar; layer=$sum; size=$bytes
    printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" > config.json
    put config.json
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' "$sum" "$bytes" "$layer" "$size" > manifest.json
    put manifest.json
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' "$sum" "$bytes" > layout/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
    rm -r rootfs layer.tar config.json manifest.json
    """
}

/// Gives a suite a cluster that its tests share.
struct ClusterTrait: SuiteTrait, TestScoping {
  @concurrent func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
  ) async throws {
    try await KubeNode.with { node in
      try await KubeNode.$current.withValue(node) { try await function() }
    }
  }
}

extension Trait where Self == ClusterTrait {
  static var cluster: Self { ClusterTrait() }
}

/// Everything that drives a cluster: one suite after another, each with its own cluster.
@Suite(.serialized) struct KubeTests {}
