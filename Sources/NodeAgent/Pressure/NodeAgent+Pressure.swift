internal import CRIClient
internal import CRIModel
internal import Kernel
internal import KubeClient
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import SwiftProtobuf
internal import Volumes

/// What a node does when it runs short of memory, disk or processes.
extension NodeAgent {
  package var pressures: Set<NodePressure> { eviction.pressures }

  func pressureLoop() async {
    while !Task.isCancelled {
      await relievePressure()
      try? await Task.sleep(for: settings.pressureLook)
    }
  }

  /// One look, and what it asks for.
  func relievePressure() async {
    let before = eviction.pressures
    var actions = await stepEviction(hasCollected: false)
    if case .collectGarbage(let signal)? = actions.first {
      tools.logger.warning("the node is short of \(signal.rawValue): what nobody uses goes")
      await collectGarbage()
      actions = await stepEviction(hasCollected: true)
    }
    for case .evict(let uid, let message, let grace) in actions {
      guard let worker = workers[uid] else { continue }
      tools.logger.warning("pod \(worker.key) is evicted: \(message)")
      worker.deliver(.failed(reason: PodReport.evictedReason, message: message, graceSeconds: grace))
    }
    if eviction.pressures != before { cluster?.nodeChanged.raise() }
  }

  private func stepEviction(hasCollected: Bool) async -> [EvictionAction] {
    let readings = await settings.readings(tools)
    let needsUsage = settings.eviction.thresholds.contains { threshold in
      readings[threshold.signal].map { threshold.isMet(by: $0, wasMet: true) } ?? false
    }
    // What pods use is worth a look at each of their files only where one may have to go.
    let usage = needsUsage ? await podUsage() : []
    return eviction.step(readings, pods: usage, now: tools.now(), hasCollected: hasCollected)
  }

  /// Dead containers of pods that are over, and images that nothing uses.
  private func collectGarbage() async {
    for worker in workers.values { worker.deliver(.spaceNeeded) }
    do throws(CRIError) {
      let images = try await tools.runtime.listImages(CRIImageFilter())
      let containers = try await tools.runtime.listContainers(CRIContainerFilter())
      for image in settings.imageCare.removable(images, usedBy: containers, bytes: .max) {
        tools.logger.info("the disk is full: image \(image.repoTags.first ?? image.id) goes, nobody uses it")
        try await tools.runtime.removeImage(image.id)
      }
    } catch {
      tools.logger.warning("images: \(error)")
    }
  }

  private func podUsage() async -> [PodUsage] {
    var stats: [String: CRIPodSandboxStats] = [:]
    do throws(CRIError) {
      for pod in try await tools.runtime.listPodSandboxStats(CRIPodSandboxStatsFilter()) {
        stats[pod.attributes.metadata.uid] = pod
      }
    } catch {
      tools.logger.warning("what pods use: \(error)")
    }
    var found: [PodUsage] = []
    for (uid, report) in reports where report.machine.sandboxID != nil && workers[uid] != nil {
      let isOver = report.machine.phase == .succeeded || report.machine.phase == .failed
      var usage = PodUsage(uid: uid)
      usage.isEnding = report.machine.failure?.reason == PodReport.evictedReason && report.machine.isEnding
      if isOver || report.machine.isDeleting, !usage.isEnding { continue }
      usage.priority = report.pod.spec.priority ?? 0
      usage.isCritical = !report.isServed || usage.priority >= PodUsage.systemPriority
      usage.graceSeconds = report.pod.spec.terminationGracePeriodSeconds ?? 30
      usage.measure(report.pod, stats[uid])
      let (store, volumes) = (tools.volumes, report.pod.spec.volumes.filter { $0.emptyDir != nil }.map(\.name))
      usage.volumeBytes = await onFreshThread {
        volumes.reduce(0) { $0 + ((try? store.usedBytes($1, pod: uid)) ?? 0) }
      }
      found.append(usage)
    }
    return found
  }

  /// Why a pod that comes to a node under pressure is not let in; nil: it is.
  ///
  /// As a kubelet has it: short of memory, only pods that asked for some come in; short of disk or processes, none but
  /// those of the system.
  func pressureRefusal(_ pod: Pod) -> String? {
    let present = pressures
    guard !present.isEmpty, (pod.spec.priority ?? 0) < PodUsage.systemPriority else { return nil }
    if present == [.memory] {
      let tolerates = pod.spec.tolerations.contains {
        ($0.key ?? "").isEmpty && $0.`operator` == "Exists" || $0.key == "node.kubernetes.io/memory-pressure"
      }
      if QOSClass(pod.spec) != .bestEffort || tolerates { return nil }
    }
    let names = NodePressure.allCases.filter(present.contains).map(\.rawValue).joined(separator: " ")
    return "The node had condition: [\(names)]. "
  }
}

extension PodUsage {
  fileprivate mutating func measure(_ pod: Pod, _ stats: CRIPodSandboxStats?) {
    func request(_ name: String, _ resource: String) -> Int64 {
      let containers = pod.spec.containers + pod.spec.initContainers
      let resources = containers.first { $0.name == name }?.resources
      return (resources?.requests[resource] ?? resources?.limits[resource])?.value ?? 0
    }
    for container in stats?.linux.containers ?? [] {
      let name = container.attributes.metadata.name
      memory.append(
        Part(
          name: name, bytes: Int64(clamping: container.memory.workingSetBytes.value),
          request: request(name, "memory")))
      storage.append(
        Part(
          name: name, bytes: Int64(clamping: container.writableLayer.usedBytes.value),
          request: request(name, "ephemeral-storage")))
      inodes += Int64(clamping: container.writableLayer.inodesUsed.value)
    }
    processes = Int64(clamping: stats?.linux.process.processCount.value ?? 0)
  }
}

/// What the kernel says of what there is.
package enum NodeReadings {
  /// - Parameter root: a directory on the file system of the node's volumes and logs.
  package static func look(root: String, imageFileSystem: String?) -> [PressureSignal: SignalReading] {
    var found: [PressureSignal: SignalReading] = [:]
    func text(_ path: String) -> String { ((try? Files.readText(path)) ?? nil) ?? "" }
    let usage = NodeUsage(stat: "", meminfo: text("/proc/meminfo"), at: 0)
    let available = Int64(clamping: usage.availableBytes)
    if available > 0 {
      found[.memory] = SignalReading(available: available, capacity: available + Int64(clamping: usage.workingSetBytes))
    }
    func look(_ path: String, _ bytes: PressureSignal, _ inodes: PressureSignal) {
      guard let space = try? Files.space(path) else { return }
      found[bytes] = SignalReading(
        available: Int64(clamping: space.availableBytes), capacity: Int64(clamping: space.totalBytes))
      // Some file systems make inodes as they need them.
      guard space.totalInodes > 0 else { return }
      found[inodes] = SignalReading(
        available: Int64(clamping: space.freeInodes), capacity: Int64(clamping: space.totalInodes))
    }
    look(root, .nodeBytes, .nodeInodes)
    look(imageFileSystem ?? root, .imageBytes, .imageInodes)
    let words = text("/proc/loadavg").split { $0 == " " || $0 == "\n" }
    let running = words.dropFirst(3).first?.split(separator: "/").last.flatMap { Int64($0) }
    let most = text("/proc/sys/kernel/pid_max").split(separator: "\n").first.flatMap { Int64($0) }
    let threads = text("/proc/sys/kernel/threads-max").split(separator: "\n").first.flatMap { Int64($0) }
    if let running, let most = [most, threads].compactMap({ $0 }).min() {
      found[.processes] = SignalReading(available: max(0, most - running), capacity: most)
    }
    return found
  }
}
