package import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
package import ImageStore
package import Kernel
package import Logging
package import PodRuntime

/// What the server says of itself.
package struct ServerFacts: Sendable, Hashable {
  /// As "0.1.0".
  package var version: String
  /// Blocks of the pod network, as "10.87.0.0/16".
  package var podBlocks: [String]
  /// The daemon makes groups through systemd, and parents of pods are its slices.
  package var usesSystemdGroups: Bool

  package init(version: String, podBlocks: [String], usesSystemdGroups: Bool = false) {
    self.version = version
    self.podBlocks = podBlocks
    self.usesSystemdGroups = usesSystemdGroups
  }
}

/// Why no pod can get a network now, as the condition NetworkReady says it.
package struct NetworkProblem: Sendable, Hashable {
  /// One word in CamelCase: "NetworkPluginNotReady".
  package var reason: String
  package var message: String

  package init(reason: String, message: String) {
    self.reason = reason
    self.message = message
  }
}

/// runtime.v1.RuntimeService, runtime.v1.ImageService and martlet.v1.Images on one unix socket.
///
/// Who may open the socket may do everything: its mode is 0600, and there is no other gate. SO_PEERCRED would say no
/// more, since only root passes the mode.
package struct CRIServer: Sendable {
  private let services: [any RegistrableRPCService]
  private let interceptors: [any ServerInterceptor]
  private let events: EventBook
  private let loopback: LoopbackPorts
  private let runtime: Runtime
  private let news: AsyncStream<RuntimeEvent>
  private let forgetStrayHolds: @Sendable () async -> Void
  private let log: Logger

  /// Bytes of one request; a create of a pod with large config is far below.
  package static let requestBytesMax = 16 << 20
  /// From the wish to stop to cutting what still streams.
  package static let shutdownSeconds = 5

  /// - Parameters:
  ///   - networkProblem: asked for every Status; nil where pods get their network.
  ///   - interceptors: around every call, the first one outermost.
  package init(
    runtime: Runtime, images: ImageStore, gatherer: ContainerGatherer, registry: RegistrySource,
    streaming: StreamingURLs, facts: ServerFacts, log: Logger,
    networkProblem: @escaping @Sendable () async -> NetworkProblem? = { nil },
    interceptors: [any ServerInterceptor] = []
  ) {
    let calls = CallLog(log: log)
    let figures = ResourceFigures(runtime: runtime)
    self.runtime = runtime
    loopback = LoopbackPorts(log: log)
    news = runtime.events()
    // Recovery is over: what it found ended is news to whoever follows first.
    events = EventBook(
      found: EventBook.ended(
        sandboxes: runtime.sandboxes, containers: runtime.containers, now: SystemClock.wallNanoseconds), log: log)
    services = [
      RuntimeCalls(
        runtime: runtime, gatherer: gatherer, figures: figures,
        metrics: PodMetrics(runtime: runtime, figures: figures), events: events, loopback: loopback,
        streaming: streaming, calls: calls,
        facts: facts, networkProblem: networkProblem),
      ImageCalls(images: images, registry: registry, calls: calls, facts: facts, figures: figures),
      MartletImageCalls(images: images, registry: registry, calls: calls),
    ]
    self.interceptors = interceptors
    self.log = log
    // What was let go while no daemon was there to hear of it.
    forgetStrayHolds = { await images.releaseAll(but: Set(runtime.containers.map(\.id))) }
  }

  /// Serves until the task is cancelled, then lets calls in flight end for `shutdownSeconds`.
  /// - Parameter socket: a duplicate is handed to the transport, which closes it.
  package func serve(_ socket: borrowing UnixSocketListener) async throws {
    await forgetStrayHolds()
    try Task.checkCancellation()
    var config = HTTP2ServerTransport.Posix.Config.defaults
    config.rpc.maxRequestPayloadSize = Self.requestBytesMax
    let descriptor = try socket.socket.duplicate().release()
    let transport = HTTP2ServerTransport.Posix(
      listeningSocketDescriptor: Int(descriptor), transportSecurity: .plaintext, config: config)
    try await serve(GRPCServer(transport: transport, services: services, interceptors: interceptors), transport)
  }

  private func serve(
    _ server: GRPCServer<HTTP2ServerTransport.Posix>, _ transport: HTTP2ServerTransport.Posix
  ) async throws {
    let log = log
    let (events, news) = (events, news)
    let (loopback, runtime) = (loopback, runtime)
    for sandbox in runtime.sandboxes { await loopback.open(sandbox) }
    let telling = Task {
      await events.run(news) { event in
        // A pod's own end; its containers' are others.
        guard event.containerID == event.sandboxID, event.kind == .stopped || event.kind == .removed else { return }
        await loopback.close(event.sandboxID)
      }
      await loopback.closeAll()
    }
    defer { telling.cancel() }
    // A task of its own, so that a cancelled caller ends it in order instead of cutting it.
    let serving = Task { try await server.serve() }
    try await withTaskCancellationHandler {
      try await serving.value
    } onCancel: {
      // First: streams of events would hold the shutdown up for ever.
      events.close()
      Task {
        // A transport that is told to end while it only begins to listen lets go of its channel half made.
        _ = try? await transport.listeningAddress
        server.beginGracefulShutdown()
        // Follows the shutdown: a client may not take what is sent to it.
        try? await Task.sleep(for: .seconds(Self.shutdownSeconds))
        log.debug("cutting what still streams")
        serving.cancel()
      }
    }
  }
}
