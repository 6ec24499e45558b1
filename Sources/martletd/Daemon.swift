internal import CNI
internal import CRIServer
internal import ContainerPlan
internal import DaemonConfiguration
internal import HTTPServer
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
  var settings: DaemonSettings
  /// Files and flags read anew.
  var reread: @Sendable () throws -> DaemonSettings
  var log: Logger

  private var root: String { settings.root }
  private var run: String { settings.run }
  private var socketPath: String { settings.socketPath }

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
        keepBlobs: settings.keepBlobs, unpackThreadsMax: settings.unpackThreadsMax,
        pullsMax: settings.pullsMax, pinnedNames: settings.pinned),
      log: log)
    for problem in try await images.start() {
      log.error("an image record is set aside", metadata: ["problem": "\(problem)"])
    }
    let registries = Registries(settings, log: log)
    do {
      try await serve(socket, images, registries)
    } catch {
      // Its connections must be closed on every way out; why it failed is worth more than a failure of that.
      try? await registries.shutdown()
      try? socket.unlink()
      throw error
    }
    try await registries.shutdown()
    try socket.unlink()
    // Until here, so that no other daemon starts while this one ends.
    _ = consume runLock
    _ = consume rootLock
  }

  private func serve(
    _ socket: borrowing UnixSocketListener, _ images: ImageStore, _ registries: Registries
  ) async throws {
    let metrics = NodeMetrics()
    // Before recovery: whoever looks sees that it is under way.
    let metricsServer: HTTPServer? =
      if let listener = settings.metricsListener {
        try await NodeMetrics.bind(listener, metrics, log: log)
      } else { nil }
    let gatherer = ContainerGatherer(images: images, seccomp: SeccompPrograms(directory: "\(root)/seccomp"))
    let network = try makeNetwork()
    // Unstructured: it serves while the rest is made, and ends with this call.
    let observing = Task { try await metricsServer?.run() }
    defer { observing.cancel() }
    let runtime = try await makeRuntime(images, network, gatherer)
    report(try await runtime.recover())
    let streaming = try await makeStreaming(runtime)
    let server = CRIServer(
      runtime: runtime, images: images, gatherer: gatherer, registry: registries.source,
      streaming: StreamingURLs(
        url: { try streaming.url(for: StreamRequest($0)) },
        portForward: { sandboxID in
          try streaming.url(
            for: StreamRequest(
              kind: .portForward, containerID: sandboxID, terminal: false, input: false, output: false, errors: false))
        }),
      facts: ServerFacts(
        version: Self.version, podBlocks: settings.podBlocks, usesSystemdGroups: settings.cgroupDriver == .systemd),
      log: log,
      networkProblem: {
        await network.problem().map {
          NetworkProblem(reason: "NetworkPluginNotReady", message: "Network plugin returns error: \($0)")
        }
      },
      interceptors: [CallObserver(book: metrics.book)])
    metrics.serve(runtime, network)
    var places: Logger.Metadata = ["socket": "\(socketPath)", "root": "\(root)", "run": "\(run)"]
    if let address = metricsServer?.addresses.first { places["metrics"] = "\(address)" }
    log.info("ready", metadata: places)
    notifySystemd("READY=1")
    // Unstructured, for the socket is lent and no closure may hold it: they end with the server, and are waited for.
    let services = Task {
      try await withThrowingTaskGroup { group in
        group.addTask { try await streaming.run() }
        group.addTask { await network.run() }
        group.addTask { try await Memory.keepSettled() }
        group.addTask { await reloadWhenAsked(registries, network) }
        try await group.waitForAll()
      }
    }
    defer { services.cancel() }
    do {
      try await server.serve(socket)
    } catch {
      // Asked to stop before it had begun, it says that it was stopped: that is what was wanted.
      if !Task.isCancelled { throw error }
    }
    notifySystemd("STOPPING=1")
    log.info("stopping; pods go on")
    services.cancel()
    observing.cancel()
    _ = await services.result
    _ = await observing.result
    await network.stop()
  }

  private func makeNetwork() throws -> NodeNetwork {
    let plugins = CNINetwork(
      setup: .init(
        configurationDirectory: settings.cniConfigurationDirectory, pluginDirectories: settings.cniPluginDirectories,
        recordsDirectory: "\(root)/cni", namespacesDirectory: "\(run)/cni"),
      log: log)
    return NodeNetwork(
      mode: settings.networkMode,
      builtin: PodNetwork(runDirectory: run, configuration: try settings.podNetwork(), logger: log), cni: plugins,
      run: run)
  }

  private func makeDirectories() throws {
    for directory in [root, run] {
      try Files.makeDirectories(directory, mode: 0o700)
      // Also where an earlier version or somebody's hand made it wider.
      try Files.chmod(directory, mode: 0o700)
    }
    try Files.makeDirectories(Files.parent(of: socketPath), mode: 0o700)
  }

  private func makeRuntime(
    _ images: ImageStore, _ network: NodeNetwork, _ gatherer: ContainerGatherer
  ) async throws -> Runtime {
    var setup = RuntimeConfiguration(rootDirectory: root, runDirectory: run)
    setup.cgroupParent = settings.podParent
    setup.toleratesMissingControllers = settings.missingControllers == .warn
    setup.shimPath = settings.shim.isEmpty ? nil : settings.shim
    var hooks = RuntimeHooks(
      network: network.provider,
      releaseImage: { await images.release(owner: $0) },
      holdImage: { image, container in _ = try await images.hold(image, for: container) },
      recompile: { request, places, sandbox in
        try await gatherer.compile(try ContainerGatherer.decode(request), places, sandbox)
      })
    if settings.cgroupDriver == .systemd { hooks.groups = try GroupKeeper.systemd() }
    return try await Runtime(configuration: setup, hooks: hooks, log: log)
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
    setup.host = settings.streamingAddress
    setup.port = settings.streamingPort
    return try await StreamingServer.bind(setup, handlers: StreamingHandlers(runtime), logger: log)
  }

  /// Tells systemd, where it waits for it.
  func notifySystemd(_ state: String) {
    guard let path = environmentVariable("NOTIFY_SOCKET"), !path.isEmpty else { return }
    do {
      try sendDatagram(state, to: path)
    } catch {
      log.warning("telling systemd failed", metadata: ["state": "\(state)", "error": "\(error)"])
    }
  }
}

extension StreamRequest {
  init(_ target: StreamingURLs.Target) {
    self.init(
      kind: target.command.map { .exec(command: $0) } ?? .attach, containerID: target.containerID,
      terminal: target.terminal, input: target.input, output: target.output, errors: target.errors)
  }
}
