internal import CRIServer
internal import ContainerPlan
internal import ImageStore
internal import JSON
internal import Kernel
internal import Logging
internal import OCISpec
internal import PodNetwork
internal import PodRuntime
internal import Registry
internal import Streaming

/// The daemon put together: images, network, runtime and streaming behind one CRI socket.
struct Daemon {
  var configuration: DaemonConfiguration
  var root: String
  var run: String
  var socketPath: String
  var shimPath: String?
  var log: Logger

  static let version = "0.1.0"

  /// Recovers, then serves until the task is cancelled. Pods go on without the daemon.
  func serve() async throws {
    try makeDirectories()
    // Both: two daemons with different sockets could share one of them by mistake.
    let runLock = try FileLock(path: "\(run)/martletd.lock")
    let rootLock = try FileLock(path: "\(root)/martletd.lock")
    // Bound before recovery: clients that come early wait instead of failing.
    let socket = try UnixSocketListener.bind(socketPath)
    let images = ImageStore(
      root: root,
      options: ImageStoreOptions(
        keepBlobs: configuration.keepBlobs, unpackThreadsMax: configuration.unpackThreadsMax,
        pullsMax: configuration.pullsMax, pinnedNames: configuration.pinned),
      log: log)
    for problem in try await images.start() {
      log.error("an image record is set aside", metadata: ["problem": "\(problem)"])
    }
    let registry = RegistryClient(
      options: RegistryOptions(
        hostsDirectory: configuration.hostsDirectory, dockerConfigPath: configuration.dockerConfig), log: log)
    do {
      try await serve(socket, images, registry)
    } catch {
      // Its connections must be closed on every way out; why it failed is worth more than a failure of that.
      try? await registry.shutdown()
      try? socket.unlink()
      throw error
    }
    try await registry.shutdown()
    try socket.unlink()
    // Until here, so that no other daemon starts while this one ends.
    _ = consume runLock
    _ = consume rootLock
  }

  private func serve(
    _ socket: borrowing UnixSocketListener, _ images: ImageStore, _ registry: RegistryClient
  ) async throws {
    let gatherer = ContainerGatherer(images: images, seccomp: SeccompPrograms(directory: "\(root)/seccomp"))
    let network = PodNetwork(runDirectory: run, configuration: try networkConfiguration(), logger: log)
    let runtime = try await makeRuntime(images, network, gatherer)
    report(try await runtime.recover())
    await images.releaseAll(but: Set(runtime.containers.map(\.id)))
    let streaming = try await makeStreaming(runtime)
    let server = CRIServer(
      runtime: runtime, images: images, gatherer: gatherer, registry: RegistrySource(client: registry),
      streaming: StreamingURLs(
        url: { try streaming.url(for: StreamRequest($0)) },
        portForward: { sandboxID in
          try streaming.url(
            for: StreamRequest(
              kind: .portForward, containerID: sandboxID, terminal: false, input: false, output: false, errors: false))
        }),
      facts: ServerFacts(version: Self.version, podBlocks: configuration.podBlocks), log: log)
    log.info("ready", metadata: ["socket": "\(socketPath)", "root": "\(root)", "run": "\(run)"])
    notifySystemd("READY=1")
    // Both end with the task; whichever fails first ends the other.
    let streams = Task { try await streaming.run() }
    defer { streams.cancel() }
    try await server.serve(socket)
    notifySystemd("STOPPING=1")
    log.info("stopping; pods go on")
    await network.stop()
  }

  private func makeDirectories() throws {
    for directory in [root, run] {
      try Files.makeDirectories(directory, mode: 0o700)
      // Also where an earlier version or somebody's hand made it wider.
      try Files.chmod(directory, mode: 0o700)
    }
    try Files.makeDirectories(Files.parent(of: socketPath), mode: 0o700)
  }

  private func networkConfiguration() throws -> PodNetworkConfiguration {
    func blocks(_ key: String, _ texts: [String]) throws -> [IPPrefix] {
      try texts.map { text in
        guard let block = IPPrefix(text) else {
          throw DaemonConfiguration.Problem(file: "configuration", problem: "network.\(key): \(text) is no block")
        }
        return block
      }
    }
    return PodNetworkConfiguration(
      podCIDRs: try blocks("pod-cidrs", configuration.podBlocks),
      clusterCIDRs: try blocks("cluster-cidrs", configuration.clusterBlocks),
      serviceCIDRs: try blocks("service-cidrs", configuration.serviceBlocks), mtu: configuration.mtu,
      poolSize: configuration.poolSize, masquerade: configuration.masquerade)
  }

  private func makeRuntime(
    _ images: ImageStore, _ network: PodNetwork, _ gatherer: ContainerGatherer
  ) async throws -> Runtime {
    var setup = RuntimeConfiguration(rootDirectory: root, runDirectory: run)
    setup.cgroupParent = configuration.cgroupParent
    setup.toleratesMissingControllers = configuration.missingControllers == .warn
    setup.shimPath = shimPath
    let hooks = RuntimeHooks(
      network: Self.provider(network),
      releaseImage: { await images.release(owner: $0) },
      holdImage: { image, container in _ = try await images.hold(image, for: container) },
      recompile: { request, places, sandbox in
        try await gatherer.compile(try ContainerGatherer.decode(request), places, sandbox)
      })
    return try await Runtime(configuration: setup, hooks: hooks, log: log)
  }

  private static func provider(_ network: PodNetwork) -> NetworkProvider {
    NetworkProvider(
      start: { try await network.start(known: $0).lost },
      attach: { request in
        let addresses = try await network.attach(
          request.sandboxID, hostPorts: try request.portMappings.map(HostPort.init))
        return SandboxAddresses(
          ipv4: addresses.ipv4?.description, ipv6: addresses.ipv6?.description,
          namespacePath: addresses.namespacePath, hostLink: addresses.hostLink)
      },
      detach: { try await network.detach($0) })
  }

  private func report(_ recovery: RecoveryReport) {
    log.info(
      "recovered",
      metadata: [
        "pods": "\(recovery.adopted.count)", "broken": "\(recovery.broken.count)", "undone": "\(recovery.undone.count)",
        "earlier-boot": "\(recovery.ghosts.count)", "set-aside": "\(recovery.setAside.count)",
        "stray-layers": "\(recovery.strays)",
      ])
  }

  private func makeStreaming(_ runtime: Runtime) async throws -> StreamingServer {
    var setup = StreamingServer.Configuration()
    setup.host = configuration.streamingAddress
    setup.port = configuration.streamingPort
    return try await StreamingServer.bind(setup, handlers: StreamingHandlers(runtime), logger: log)
  }

  /// Tells systemd, where it waits for it.
  private func notifySystemd(_ state: String) {
    guard let path = environmentVariable("NOTIFY_SOCKET"), !path.isEmpty else { return }
    do {
      try sendDatagram(state, to: path)
    } catch {
      log.warning("telling systemd failed", metadata: ["state": "\(state)", "error": "\(error)"])
    }
  }
}

extension HostPort {
  init(_ mapping: PortMapping) throws {
    var address: IPAddress?
    if !mapping.hostAddress.isEmpty {
      guard let parsed = IPAddress(mapping.hostAddress) else {
        throw PodRuntime.RuntimeError(
          .invalidArgument, stage: "read host port", subject: mapping.hostAddress, reason: "is no address")
      }
      // Every address is what an absent one means.
      address = parsed.isUnspecified ? nil : parsed
    }
    let transport: TransportProtocol
    switch mapping.transport {
    case .tcp: transport = .tcp
    case .udp: transport = .udp
    case .sctp:
      throw PodRuntime.RuntimeError(
        .unsupported, stage: "read host port", subject: "\(mapping.hostPort)/sctp", reason: "host ports are TCP and UDP"
      )
    }
    self.init(
      transport: transport, hostIP: address, hostPort: mapping.hostPort, containerPort: mapping.containerPort)
  }
}

extension StreamRequest {
  init(_ target: StreamingURLs.Target) {
    self.init(
      kind: target.command.map { .exec(command: $0) } ?? .attach, containerID: target.containerID,
      terminal: target.terminal, input: target.input, output: target.output, errors: target.errors)
  }
}
