internal import CRIClient
internal import CRIModel
internal import Kernel
package import KubeModel
package import Logging
package import PodTranslation
internal import Synchronization
package import Volumes

/// What a worker shares with the others of its node.
package struct NodeTools: Sendable {
  package var runtime: any RuntimeClient
  package var volumes: VolumeStore
  package var facts: NodeFacts
  package var prober = Prober()
  package var logger: Logger
  package var backoff = BackoffRule()
  /// Of the pods' clock, which goes forward also while the machine sleeps.
  package var now: @Sendable () -> Milliseconds = { SystemClock.bootNanoseconds / 1_000_000 }
  /// Text of the host's own /etc/hosts.
  package var hostsText: @Sendable () -> String = { ((try? Files.readText("/etc/hosts")) ?? nil) ?? "" }
  /// The Services that containers of a namespace see as variables, beside those of the manifests.
  package var serviceLinks: @Sendable (_ namespace: String) -> [ServiceLink] = { _ in [] }
  /// What others do at turns of a pod's life.
  package var hooks = PodHooks()
  /// What only an API server gives.
  var goods: any PodGoods = NoGoods()
  /// Told what happens to a pod.
  package var notes: @Sendable (_ pod: Pod, PodNote) -> Void = { _, _ in }

  package init(runtime: any RuntimeClient, volumes: VolumeStore, facts: NodeFacts, logger: Logger) {
    (self.runtime, self.volumes, self.facts, self.logger) = (runtime, volumes, facts, logger)
  }
}

/// Does what one pod's machine says, and tells it what came of it.
///
/// All work is done in tasks that `run` waits for. Nothing of a pod is done twice at a time, because the machine waits
/// for each answer.
package actor PodWorker {
  /// Answers and observations that wait to be handled. There are never more answers than actions under way, a few for
  /// each container; observations come again.
  private static let eventsMax = 4096

  nonisolated private let form: Mutex<PodTranslation>
  nonisolated let place: ManifestPlace?
  /// It comes from an API server.
  nonisolated let isServed: Bool
  nonisolated let uid: String
  nonisolated let key: String
  nonisolated let tools: NodeTools
  private var machine: PodMachine
  private(set) var objects: PodObjects
  private(set) var volumePaths: [String: String] = [:]
  /// Tokens and claims, as they were last read; when each token is to be renewed.
  var tokens: [TokenKey: PodToken] = [:]
  var claims: [String: ClaimPlace] = [:]
  private(set) var imageReferences: [String: String] = [:]
  var resize = ResizeState()
  var resizeUnderWay = false
  private var pulls: [String: Task<Void, Never>] = [:]
  private var timer: Task<Void, Never>?
  private var timerAt: Milliseconds?
  /// When each sandbox and container that the machine knows was first known.
  private var knownSince: [String: Milliseconds] = [:]
  private let events: AsyncStream<PodEvent>
  private let send: AsyncStream<PodEvent>.Continuation
  /// Called after every change, and for the last time when the pod is gone.
  private let onChange: @Sendable (PodReport) async -> Void
  /// Returns when no Service leads to the pod any more.
  private let withdraw: @Sendable () async -> Void

  init(
    translation: PodTranslation, place: ManifestPlace?, isServed: Bool = false, machine: PodMachine,
    objects: PodObjects, tools: NodeTools,
    onChange: @escaping @Sendable (PodReport) async -> Void, withdraw: @escaping @Sendable () async -> Void
  ) {
    form = Mutex(translation)
    (uid, key) = (translation.uid, "\(translation.namespace)/\(translation.name)")
    (self.place, self.isServed, self.machine, self.objects) = (place, isServed, machine, objects)
    (self.tools, self.onChange, self.withdraw) = (tools, onChange, withdraw)
    (events, send) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.eventsMax))
  }

  /// The pod as it was last told.
  nonisolated var translation: PodTranslation { form.withLock { $0 } }
  nonisolated var pod: Pod { translation.pod }

  var report: PodReport {
    var report = PodReport(pod: pod, place: place, isServed: isServed, machine: machine.report)
    report.resize = resize
    return report
  }

  func tellChange() async { await onChange(report) }

  /// Puts another form of the pod in the place of this one.
  func take(_ new: Pod) {
    let changed = PodTranslation(pod: new, facts: tools.facts, manifest: translation.manifest)
    form.withLock { $0 = changed }
  }

  /// Drives the pod until it is gone or this task is cancelled; a pod whose driver is cancelled goes on running.
  /// - Parameter first: what it is told before all else.
  func run(_ first: PodEvent = .tick) async {
    await withDiscardingTaskGroup { group in
      if case .ready = machine.sandbox { group.addTask { await self.greetAdopted() } }
      if !TokenKey.all(of: pod).isEmpty { group.addTask { await self.renewTokens() } }
      var actions = machine.handle(first, now: tools.now())
      await onChange(report)
      var events = events.makeAsyncIterator()
      while true {
        for action in actions { group.addTask { await self.perform(action) } }
        if machine.isGone { break }
        setTimer()
        guard let event = await events.next() else { break }
        let before = machine.report
        actions = machine.handle(event, now: tools.now())
        noteKnown()
        let after = machine.report
        for note in PodNotes.notes(
          of: event, before: before, after: after, actions: actions, title: machine.rules.title)
        {
          tell(note)
        }
        if after != before { await onChange(report) }
        if case .started = event, resize.inProgress { group.addTask { await self.actOnResize() } }
      }
      timer?.cancel()
      send.finish()
      for pull in pulls.values { pull.cancel() }
      group.cancelAll()
    }
  }

  /// A sandbox that an earlier agent made.
  private func greetAdopted() async {
    do {
      try await tools.hooks.sandboxReady(PodIdentity(translation, addresses: machine.addresses))
    } catch {
      tools.logger.error("pod \(key): \(error)")
    }
  }

  nonisolated func tell(_ note: PodNote) { tools.notes(pod, note) }

  nonisolated func deliver(_ event: PodEvent) { send.yield(event) }

  private func setTimer() {
    guard machine.wakeAt != timerAt || timer == nil else { return }
    timer?.cancel()
    timerAt = machine.wakeAt
    guard let wakeAt = machine.wakeAt else {
      timer = nil
      return
    }
    let pause = max(1, wakeAt - tools.now())
    timer = Task { [send] in
      do {
        try await Task.sleep(for: .milliseconds(pause))
        self.timerFired()
        send.yield(.tick)
      } catch {}
    }
  }

  private func timerFired() { timerAt = nil }

  private func noteKnown() {
    var known: [String: Milliseconds] = [:]
    let now = tools.now()
    if let id = machine.sandboxID { known[id] = knownSince[id] ?? now }
    for container in machine.containers {
      if let id = container.current?.id { known[id] = knownSince[id] ?? now }
    }
    knownSince = known
  }

  // MARK: what the agent tells

  /// New ConfigMaps, Secrets and Services of the pod's namespace: variables see them at the next start, files now.
  func update(_ new: PodObjects) async {
    guard new != objects else { return }
    objects = new
    send.yield(.contentChanged)
    await renewProjections()
  }

  /// Another form of the same pod: labels and annotations reach its files, another image its containers.
  func revise(_ wanted: Pod) async {
    let old = pod
    var new = wanted
    // Other sizes come when the node has let them in.
    new.spec = ResizePlan.spec(wanted.spec, sizedAs: old.spec)
    guard
      new.metadata.generation != old.metadata.generation || new.spec != old.spec
        || new.metadata.labels != old.metadata.labels || new.metadata.annotations != old.metadata.annotations
    else { return }
    take(new)
    for container in new.spec.initContainers + new.spec.containers {
      send.yield(.imageChanged(container: container.name, image: container.image ?? ""))
    }
    addEphemeral(new, old)
    await renewProjections()
    await onChange(report)
  }

  /// Containers that a person added; what this node does not do with one is said, and the rest goes on.
  private func addEphemeral(_ new: Pod, _ old: Pod) {
    let known = Set(machine.containers.map(\.rule.name))
    let added = new.ephemeralContainers.filter { !known.contains($0.name) }
    guard !added.isEmpty, old.spec.ephemeralContainers != new.spec.ephemeralContainers else { return }
    let problems = PodValidation.problems(inServed: new)
    guard problems.isEmpty else {
      let why = problems.map(\.description).joined(separator: "; ")
      tools.logger.error("pod \(key): \(why)")
      for container in added { tell(.warning("Failed", "Error: \(why)", container: container.name)) }
      return
    }
    for container in added { send.yield(.containerAdded(PodRules.ephemeral(container))) }
  }

  func renewProjections() async {
    guard !machine.isDeleting, !volumePaths.isEmpty else { return }
    // What is missing now keeps its last content.
    guard let plans = try? VolumePlan.volumes(of: pod, objects: goods, facts: tools.facts) else { return }
    do {
      try await makeVolumes(plans.filter { if case .projection = $0.source { true } else { false } })
    } catch {
      tools.logger.warning("pod \(key): \(error)")
    }
  }

  /// Compares what the machine believes with what the runtime listed.
  ///
  /// - Parameter listedAt: when the lists were asked for; what became known later is not missing from them.
  func observe(sandboxes: [String: CRIPodSandbox], containers: [String: CRIContainer], listedAt: Milliseconds) async {
    func isMissing(_ id: String) -> Bool { (knownSince[id] ?? listedAt) < listedAt }
    if case .ready(let id) = machine.sandbox {
      let listed = sandboxes[id]
      if listed == nil ? isMissing(id) : listed?.state == .sandboxNotready { send.yield(.sandboxDied(id: id)) }
    }
    for state in machine.containers {
      guard let (id, attempt) = state.current else { continue }
      if let listed = containers[id] {
        guard listed.state == .containerExited, let exit = await exit(of: id, state.rule.name, attempt) else {
          continue
        }
        send.yield(.exited(container: state.rule.name, exit))
      } else if isMissing(id) {
        let lost = ContainerExit(
          id: id, attempt: attempt, code: 137, reason: "ContainerStatusUnknown",
          message: "The container could not be located when the pod was looked at", startedAt: state.startedAt)
        send.yield(.exited(container: state.rule.name, lost))
      }
    }
  }

  // MARK: actions

  private func perform(_ action: PodAction) async {
    switch action {
    case .makeVolumes: send.yield(await makeAllVolumes())
    case .makeSandbox(let attempt): send.yield(await makeSandbox(attempt))
    case .clearSandbox(let id):
      send.yield(
        await answer(.sandboxCleared) {
          try await self.removeSandbox(id)
        } failed: {
          .sandboxFailed(message: $0)
        })
    case .haltSandbox(let id):
      send.yield(
        await answer(.sandboxHalted) {
          try await self.tools.runtime.stopPodSandbox(id)
        } failed: {
          .sandboxFailed(message: $0)
        })
    case .pull(let name): startPull(name)
    case .cancelPull(let name): pulls[name]?.cancel()
    case .start(let name, let attempt): await start(name, attempt)
    case .stop(let name, let id, let grace): send.yield(await stop(name, id, graceSeconds: grace))
    case .probe(let name, let id, let kind): send.yield(await probe(name, id, kind))
    case .forget(let name, let id, let attempt): await forget(name, id, attempt)
    case .dropVolumes:
      await dropVolumes()
      send.yield(.volumesDropped)
    case .withdraw:
      await withdraw()
      send.yield(.withdrawn)
    case .tearDown:
      send.yield(
        await answer(.tornDown) {
          try await self.tearDown()
        } failed: {
          .teardownFailed(message: $0)
        })
    }
  }

  private func answer(
    _ good: PodEvent, _ body: () async throws -> Void, failed: (String) -> PodEvent
  ) async -> PodEvent {
    do {
      try await body()
      return good
    } catch {
      return failed("\(error)")
    }
  }

  private func makeAllVolumes() async -> PodEvent {
    do {
      try await gather()
      let plans = try VolumePlan.volumes(of: pod, objects: goods, facts: tools.facts)
      try await makeVolumes(plans)
      for plan in plans {
        guard case .image(let reference) = plan.source else { continue }
        volumePaths[plan.name] = try await imageVolume(plan.name, reference)
      }
      return .volumesMade
    } catch let error as TranslationError {
      return .volumesFailed(reason: error.reason, message: error.message)
    } catch {
      return .volumesFailed(reason: "FailedMount", message: "\(error)")
    }
  }

  private func makeVolumes(_ plans: [VolumePlan]) async throws(VolumeError) {
    let (store, uid) = (tools.volumes, uid)
    let group = pod.spec.securityContext?.fsGroup.flatMap { UInt32(exactly: $0) }
    let requests = plans.compactMap { VolumeRequest($0) }
    let paths = try await onFreshThread { () throws(VolumeError) in
      var paths: [String: String] = [:]
      for request in requests { paths[request.name] = try store.make(request, pod: uid, group: group) }
      return paths
    }
    volumePaths.merge(paths) { $1 }
  }

  private func makeSandbox(_ attempt: UInt32) async -> PodEvent {
    var made: String?
    do {
      try Files.makeDirectories(translation.logDirectory, mode: 0o755)
      let id = try await tools.runtime.runPodSandbox(translation.sandbox(attempt: attempt), runtimeHandler: "")
      made = id
      await settleCgroup()
      let addresses = try await addresses(of: id)
      try await tools.hooks.sandboxReady(PodIdentity(translation, addresses: addresses))
      return .sandboxMade(id: id, addresses: addresses)
    } catch {
      // Nobody would know it by its number any more; the next try makes another.
      if let made { try? await removeSandbox(made) }
      return .sandboxFailed(message: "\(error)")
    }
  }

  private func addresses(of sandbox: String) async throws(CRIError) -> [String] {
    if translation.usesHostNetwork { return tools.facts.hostIPs }
    let network = try await tools.runtime.podSandboxStatus(sandbox, verbose: false).status.network
    return ([network.ip] + network.additionalIps.map(\.ip)).filter { !$0.isEmpty }
  }

  private func startPull(_ name: String) {
    pulls[name] = Task { [send] in
      let event = await self.pull(name)
      self.pullEnded(name)
      send.yield(event)
    }
  }

  private func pullEnded(_ name: String) { pulls[name] = nil }

  private func pull(_ name: String) async -> PodEvent {
    guard let container = container(name) else { return .imageFailed(container: name, reason: "", message: "") }
    let image = container.image ?? ""
    do {
      let policy = container.imagePullPolicy ?? "IfNotPresent"
      if policy != "Always" {
        let status = try await tools.runtime.imageStatus(image, verbose: false)
        if status.hasImage {
          imageReferences[name] = status.image.id
          tell(
            PodNote(
              "Pulled", "Container image \"\(image)\" already present on machine and can be accessed by the pod",
              container: name))
          return .imageReady(container: name, image: status.image.id)
        }
        if policy == "Never" {
          let message = "Container image \"\(image)\" is not present with pull policy of Never"
          return .imageFailed(container: name, reason: "ErrImageNeverPull", message: message)
        }
      }
      tell(PodNote("Pulling", "Pulling image \"\(image)\"", container: name))
      let begun = tools.now()
      let reference = try await tools.runtime.pullImage(
        image, auth: credential(for: image), sandboxConfig: translation.sandbox(attempt: 0))
      imageReferences[name] = reference
      await tellPulled(image, name, took: tools.now() - begun)
      return .imageReady(container: name, image: reference)
    } catch {
      let reason = error.code == .invalidArgument ? "InvalidImageName" : "ErrImagePull"
      // Whoever reads this knows that it is about this pull.
      let own = "PullImage (\(image)): "
      let message = error.message.hasPrefix(own) ? String(error.message.dropFirst(own.count)) : error.message
      return .imageFailed(container: name, reason: reason, message: message)
    }
  }

  func credential(for image: String) -> CRIAuthConfig? {
    PullSecrets.credential(
      for: image, in: pod.spec.imagePullSecrets.compactMap { $0.name.flatMap { objects.secrets[$0] } })
  }

  private func tellPulled(_ image: String, _ container: String, took: Milliseconds) async {
    let fraction = String(1000 + took % 1000).dropFirst()
    let span = took < 1000 ? "\(took)ms" : "\(took / 1000).\(fraction)s"
    var message = "Successfully pulled image \"\(image)\" in \(span) (\(span) including waiting)."
    if let known = try? await tools.runtime.imageStatus(image, verbose: false), known.hasImage {
      message += " Image size: \(known.image.size) bytes."
    }
    tell(PodNote("Pulled", message, container: container))
  }

  nonisolated func container(_ name: String) -> Container? {
    (pod.spec.containers + pod.spec.initContainers + pod.ephemeralContainers).first { $0.name == name }
  }
}

extension PodWorker {
  /// What containers are made from, with the Services of this moment.
  var objectsNow: PodObjects {
    var now = objects
    for link in tools.serviceLinks(translation.namespace) where !now.services.contains(where: { $0.name == link.name })
    {
      now.services.append(link)
    }
    return now
  }

  var addressesNow: [String] { machine.addresses }
  var machineNow: PodMachine { machine }
}

extension VolumeRequest {
  /// Nil: the runtime's business.
  init?(_ plan: VolumePlan) {
    let source: Source
    switch plan.source {
    case .image: return nil
    case .emptyDirectory(let inMemory, let limit): source = .emptyDirectory(inMemory: inMemory, sizeLimitBytes: limit)
    case .hostPath(let path, let kind): source = .hostPath(path, HostPathKind(rawValue: kind.rawValue) ?? .any)
    case .localDirectory(let path, let isMade): source = .localDirectory(path, isMade: isMade)
    case .projection(let files):
      source = .projection(files.map { File(path: $0.path, bytes: $0.bytes, mode: $0.mode) })
    }
    self.init(name: plan.name, source: source)
  }
}
