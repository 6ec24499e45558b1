internal import CRIClient
internal import CRIModel
internal import JSON
internal import Kernel
internal import KubeClient
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import Volumes

/// Makes a node be what its manifests say, and what an API server says where there is one.
///
/// It watches one directory and the server's pods, drives the runtime through its socket alone, and writes how things stand to one file. When
/// it ends, by cancellation or by SIGKILL, its pods go on running; the next one takes them over.
package actor NodeAgent {
  /// Where the agent looks and writes, and how often. Seconds.
  package struct Settings: Sendable {
    package var manifests: String
    package var statusFile: String
    /// The directory is read again after so long though nothing was heard of it.
    package var resync: Duration = .seconds(20)
    /// The runtime is asked what runs after so long, when it sends no events and when it does.
    package var relist: Duration = .seconds(1)
    package var relistWithEvents: Duration = .seconds(10)
    /// Between two looks at the least; also as many times as long as the last one took, for each costs the runtime and the
    /// agent more the more pods there are.
    package var relistGap: Duration = .milliseconds(10)
    package var relistShare = 6
    /// emptyDirs with a limit are measured so often.
    package var measure: Duration = .seconds(10)
    /// Logs are looked at so often, and the disk.
    package var rotate: Duration = .seconds(10)
    package var tidy: Duration = .seconds(300)
    package var logRotation = LogRotation()
    package var imageCare = ImageCare()
    package var eviction = EvictionSettings.usual
    /// Below which cgroup pods are ranked, asked once the runtime answers; nil: they are not.
    package var cgroups: @Sendable () async -> (root: String?, usesSlices: Bool) = { (nil, false) }
    /// Between two looks at what there is of memory, disk and processes.
    package var pressureLook: Duration = .seconds(10)
    /// What there is of it.
    package var readings: @Sendable (NodeTools) async -> [PressureSignal: SignalReading] = { tools in
      let images = try? await tools.runtime.imageFilesystemInfo().imageFilesystems.first?.fsID.mountpoint
      return await onFreshThread {
        NodeReadings.look(root: Files.parent(of: tools.volumes.root), imageFileSystem: images)
      }
    }
    /// Changes of the status are gathered for so long before they are written.
    package var statusPause: Duration = .milliseconds(20)

    package init(manifests: String, statusFile: String) { (self.manifests, self.statusFile) = (manifests, statusFile) }
  }

  let settings: Settings
  nonisolated let nodeName: String
  private(set) var tools: NodeTools
  private let serviceSync: ServiceSync
  private(set) var manifests = ManifestSet()
  /// By file: the bytes last read, and those last taken because all in them was right.
  private(set) var files: [String: [UInt8]] = [:]
  private var acceptedFiles: [String: [UInt8]] = [:]
  private(set) var errors: [ManifestError] = []
  private var readErrors: [ManifestError] = []
  var workers: [String: PodWorker] = [:]
  var reports: [String: PodReport] = [:]
  private(set) var serviceReports: [ServiceReport] = []
  /// Sandboxes of pods whose manifest is there and cannot be read: left alone.
  var kept: [String] = []
  /// The API server; nil: there are manifests alone.
  let cluster: Cluster?
  var arrivals: [String: Arrival] = [:]
  /// Pods with a worker or a report, by namespace and name; more than one where one follows another.
  var holders: [String: Set<String>] = [:]
  package private(set) var runtimeProblem: String?
  var eviction: EvictionPlan
  /// Pods that wait for room to grow, by uid.
  var deferred: [String: ObjectKey] = [:]
  /// Shares of all Burstable pods together, as they were last set; nil: not yet.
  var burstableShares: Int64?
  private var started = false
  // Holds at most one: that something changed.
  private let (statusChanges, statusSignal) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
  // One entry for each pod that starts, so no longer than the list of pods.
  private let (starts, startSignal) = AsyncStream<(PodWorker, PodEvent)>.makeStream(bufferingPolicy: .unbounded)
  private var relistAsked = false
  private var relistPause: Task<Void, Never>?
  private var eventsFlow = false
  private var servicesUnderWay = false
  private var serviceWaiters: [CheckedContinuation<Void, Never>] = []

  package init(
    settings: Settings, tools: NodeTools, cluster: Cluster? = nil, serviceSync: @escaping ServiceSync
  ) {
    (self.settings, self.tools, self.cluster, self.serviceSync) = (settings, tools, cluster, serviceSync)
    nodeName = tools.facts.nodeName
    eviction = EvictionPlan(settings.eviction)
  }

  /// Works until it is cancelled.
  ///
  /// - Throws: where the manifests' directory or the status file cannot be used at all.
  package func run() async throws {
    try Files.makeDirectories(settings.manifests, mode: 0o755)
    try Files.makeDirectories(Files.parent(of: settings.statusFile), mode: 0o755)
    let watch = try InotifyWatch(directory: settings.manifests)
    await withTaskCancellationHandler {
      await withDiscardingTaskGroup { group in
        group.addTask { await self.writeStatus() }
        await waitForRuntime()
        (tools.facts.cgroupRoot, tools.facts.usesSlices) = await settings.cgroups()
        readManifests()
        await adopt()
        group.addTask { await self.watchManifests(watch) }
        group.addTask { await self.followEvents() }
        group.addTask { await self.relistLoop() }
        group.addTask { await self.measureLoop() }
        group.addTask { await self.rotateLoop() }
        group.addTask { await self.tidyLoop() }
        group.addTask { await self.pressureLoop() }
        started = true
        await reconcile()
        if let cluster { group.addTask { await self.serve(cluster) } }
        for await (worker, first) in starts { group.addTask { await worker.run(first) } }
        group.cancelAll()
      }
    } onCancel: {
      watch.interrupt()
      startSignal.finish()
      statusSignal.finish()
    }
  }

  /// The runtime may start after us.
  private func waitForRuntime() async {
    while !Task.isCancelled {
      do throws(CRIError) {
        _ = try await tools.runtime.listPodSandboxes(CRIPodSandboxFilter())
        setRuntimeProblem(nil)
        return
      } catch {
        setRuntimeProblem(error.description)
        try? await Task.sleep(for: settings.relist)
      }
    }
  }

  func setRuntimeProblem(_ problem: String?) {
    guard problem != runtimeProblem else { return }
    // How a dead socket is described changes from try to try; once is enough for the log.
    let isNews = (problem == nil) != (runtimeProblem == nil)
    runtimeProblem = problem
    statusSignal.yield()
    cluster?.nodeChanged.raise()
    guard isNews else { return }
    if let problem {
      tools.logger.warning("the container runtime does not answer: \(problem)")
    } else {
      tools.logger.info("the container runtime answers")
    }
  }

  // MARK: manifests

  private func watchManifests(_ watch: InotifyWatch) async {
    let timeout = Int32(clamping: settings.resync.components.seconds * 1000)
    while !Task.isCancelled {
      let wake = await onFreshThread { () -> InotifyWatch.Wake? in try? watch.wait(timeoutMilliseconds: timeout) }
      if wake == .interrupted || Task.isCancelled { return }
      if wake == nil || wake == .directoryGone { try? await Task.sleep(for: settings.relist) }
      readManifests()
      await reconcile()
    }
  }

  /// Reads the directory and takes what is right in it.
  ///
  /// A file that was right before and has an error now keeps its last right content: a slip of the pen must not stop what
  /// runs.
  private func readManifests() {
    let reading: ManifestDirectory.Reading
    do throws(SyscallError) {
      reading = try ManifestDirectory(path: settings.manifests).read()
    } catch {
      tools.logger.error("manifests: \(error); nothing is changed until the directory can be read")
      return
    }
    guard reading.files != files || reading.errors != readErrors else { return }
    (files, readErrors) = (reading.files, reading.errors)
    var effective: [String: [UInt8]] = [:]
    var problems = reading.errors
    for (name, bytes) in reading.files {
      let alone = manifestSet([name: bytes])
      if alone.errors.isEmpty {
        acceptedFiles[name] = bytes
        effective[name] = bytes
      } else if let last = acceptedFiles[name] {
        problems += alone.errors
        effective[name] = last
      } else {
        effective[name] = bytes
      }
    }
    // A file that cannot be read for now is not one that was removed.
    for error in reading.errors where effective[error.place.file] == nil {
      effective[error.place.file] = acceptedFiles[error.place.file]
    }
    acceptedFiles = acceptedFiles.filter { effective[$0.key] != nil }
    manifests = manifestSet(effective)
    let known = Set(problems)
    errors = problems + manifests.errors.filter { !known.contains($0) }
    errors.sort { ($0.place.file, $0.place.document) < ($1.place.file, $1.place.document) }
    for error in errors { tools.logger.error("manifest \(error)") }
    statusSignal.yield()
  }

  /// In a cluster the pods of files are named after their node, so that every node may have its own.
  private func manifestSet(_ files: [String: [UInt8]]) -> ManifestSet {
    ManifestSet(
      files: files, nodeName: tools.facts.nodeName, suffix: cluster == nil ? "" : "-\(tools.facts.nodeName)")
  }

  // MARK: pods

  /// Starts what shall be, ends what shall not, and tells running pods of new content.
  private func reconcile() async {
    guard started, !Task.isCancelled else { return }
    await syncServices()
    // No waiting between a look at the manifests and what follows from it: they may change meanwhile.
    let wanted = Dictionary(manifests.pods.map { ($0.object.metadata.uid ?? "", $0) }) { first, _ in first }
    for (uid, worker) in workers where wanted[uid] == nil && !worker.isServed {
      if reports[uid]?.machine.isDeleting != true { worker.deliver(.deletionRequested(graceSeconds: nil)) }
    }
    for placed in manifests.pods where workers[placed.object.metadata.uid ?? ""] == nil {
      // Another pod of this name is still on its way out: names, ports and addresses are free when it is gone.
      if holders[placed.key]?.contains(where: { workers[$0] != nil }) == true { continue }
      start(placed.object, place: placed.place, machine: PodMachine(PodRules(placed.object, backoff: tools.backoff)))
    }
    statusSignal.yield()
    for worker in workers.values where !worker.isServed {
      await worker.update(objects(in: worker.translation.namespace))
    }
  }

  /// - Parameter first: what the pod's machine is told before all else.
  func start(
    _ pod: Pod, place: ManifestPlace?, isServed: Bool = false, machine: PodMachine, objects: PodObjects? = nil,
    first: PodEvent = .tick
  ) {
    let translation = PodTranslation(pod: pod, facts: tools.facts, manifest: place?.file ?? "")
    let uid = translation.uid
    var tools = tools
    if isServed, let cluster {
      tools.hooks = cluster.hooks(after: tools.hooks)
      tools.goods = ClusterGoods(client: cluster.client)
    } else if cluster != nil {
      // Whoever looks after a cluster's Services knows the pod by its mirror.
      tools.hooks.beforeStop = { [weak self, own = tools.hooks.beforeStop] identity, container in
        var shown = identity
        shown.uid = await self?.servedUID(uid) ?? uid
        await own(shown, container)
      }
    }
    let worker = PodWorker(
      translation: translation, place: place, isServed: isServed, machine: machine,
      objects: objects ?? self.objects(in: translation.namespace), tools: tools,
      onChange: { await self.changed($0) }, withdraw: { await self.withdraw(uid) })
    workers[uid] = worker
    holders[worker.key, default: []].insert(uid)
    reports[uid] = PodReport(pod: pod, place: place, isServed: isServed, machine: machine.report)
    startSignal.yield((worker, first))
  }

  /// Returns when no Service leads to the pod any more.
  private func withdraw(_ uid: String) async {
    if hasServices { await syncServices() }
    await withdrawServed(uid)
  }

  private func objects(in namespace: String) -> PodObjects {
    var objects = manifests.objects(in: namespace)
    for report in serviceReports where report.namespace == namespace {
      guard let address = report.clusterIPs.first,
        let service = manifests.services.first(where: { $0.namespace == namespace && $0.name == report.name })
      else { continue }
      objects.services.append(
        ServiceLink(name: report.name, clusterIP: address, ports: service.object.spec.ports))
    }
    return objects
  }

  private func changed(_ report: PodReport) async {
    let uid = report.pod.metadata.uid ?? ""
    let before = reports[uid]?.machine
    if report.machine.isGone {
      if let key = workers[uid]?.key { release(key, uid) }
      workers[uid] = nil
      reports[uid] = nil
      tools.logger.info("pod \(report.pod.metadata.namespace ?? "")/\(report.pod.metadata.name ?? "") is gone")
    } else {
      reports[uid] = report
    }
    statusSignal.yield()
    let served = { (machine: PodMachine.Report?) in (machine?.isReady ?? false, machine?.addresses ?? []) }
    if served(before) != served(report.machine), hasServices { await syncServices() }
    if report.isServed { tellServed(report) } else { tellMirror(report) }
    let isOver = report.machine.isGone || [.succeeded, .failed].contains(report.machine.phase)
    if isOver, !deferred.isEmpty {
      deferred[uid] = nil
      retryResizes()
    }
    if report.machine.isGone { await reconcile() }
  }

  func release(_ key: String, _ uid: String) {
    holders[key]?.remove(uid)
    if holders[key]?.isEmpty == true { holders[key] = nil }
  }

  // MARK: services

  private var hasServices: Bool { !manifests.services.isEmpty || !serviceReports.isEmpty }

  private var backends: [ServiceBackend] {
    reports.values.map { report in
      var ports: [String: Int32] = [:]
      for port in (report.pod.spec.initContainers + report.pod.spec.containers).flatMap(\.ports) {
        if let name = port.name { ports["\(port.`protocol` ?? "TCP")/\(name)"] = port.containerPort }
      }
      return ServiceBackend(
        namespace: report.pod.metadata.namespace ?? "default", name: report.pod.metadata.name ?? "",
        labels: report.pod.metadata.labels, addresses: report.machine.addresses, isReady: report.machine.isReady,
        namedPorts: ports)
    }.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
  }

  /// Returns when a round that began after this call has ended. Rounds follow each other; callers that wait share one.
  private func syncServices() async {
    if servicesUnderWay {
      await withCheckedContinuation { serviceWaiters.append($0) }
      return
    }
    servicesUnderWay = true
    repeat {
      let waiters = serviceWaiters
      serviceWaiters = []
      let new = await serviceSync(manifests.services, backends)
      if new != serviceReports {
        serviceReports = new
        statusSignal.yield()
      }
      for waiter in waiters { waiter.resume() }
    } while !serviceWaiters.isEmpty
    servicesUnderWay = false
  }

  // MARK: what the runtime has

  private func followEvents() async {
    while !Task.isCancelled {
      do throws(CRIError) {
        try await tools.runtime.containerEvents { event in
          // What was made and does not run yet says nothing that this agent does not know.
          if event.containerEventType != .containerCreatedEvent { await self.heardEvent() }
        }
      } catch {
        tools.logger.debug("container events: \(error)")
      }
      eventsFlow = false
      // A runtime without events is asked often enough as it is.
      try? await Task.sleep(for: settings.relistWithEvents)
    }
  }

  private func heardEvent() {
    eventsFlow = true
    relistAsked = true
    relistPause?.cancel()
  }

  private func relistLoop() async {
    while !Task.isCancelled {
      relistAsked = false
      let took = await ContinuousClock().measure { await relist() }
      // Events come in bursts: one look answers those of a moment.
      try? await Task.sleep(for: max(settings.relistGap, min(took * settings.relistShare, settings.relist)))
      guard !relistAsked else { continue }
      let pause = Task { [pause = eventsFlow ? settings.relistWithEvents : settings.relist] in
        _ = try? await Task.sleep(for: pause)
      }
      relistPause = pause
      await withTaskCancellationHandler {
        await pause.value
      } onCancel: {
        pause.cancel()
      }
      relistPause = nil
    }
  }

  private func relist() async {
    let listedAt = tools.now()
    do throws(CRIError) {
      let sandboxes = try await tools.runtime.listPodSandboxes(CRIPodSandboxFilter())
      let containers = try await tools.runtime.listContainers(CRIContainerFilter())
      setRuntimeProblem(nil)
      let sandboxesByID = Dictionary(sandboxes.map { ($0.id, $0) }) { first, _ in first }
      let containersByID = Dictionary(containers.map { ($0.id, $0) }) { first, _ in first }
      for worker in workers.values {
        await worker.observe(sandboxes: sandboxesByID, containers: containersByID, listedAt: listedAt)
      }
    } catch {
      setRuntimeProblem(error.description)
    }
  }

  // MARK: status

  private func writeStatus() async {
    for await _ in statusChanges {
      // The more there is to write, the longer changes are gathered.
      try? await Task.sleep(for: settings.statusPause + .milliseconds(4 * reports.count))
      let bytes = status.json.encoded(pretty: true)
      do throws(SyscallError) {
        try Files.writeAtomically(settings.statusFile, bytes, mode: 0o644)
      } catch {
        tools.logger.error("status: \(error)")
      }
    }
  }

  package var status: NodeStatus {
    NodeStatus(
      nodeName: tools.facts.nodeName, ready: started, runtimeProblem: runtimeProblem,
      files: files.mapValues(StaticPod.fingerprint),
      pods: reports.values.sorted {
        ($0.pod.metadata.namespace ?? "", $0.pod.metadata.name ?? "") < (
          $1.pod.metadata.namespace ?? "", $1.pod.metadata.name ?? ""
        )
      },
      services: serviceReports, errors: errors, kept: kept, hostIPs: tools.facts.hostIPs)
  }
}
