internal import CRIClient
internal import CRIModel
internal import Kernel
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import Volumes

/// How containers and pods end, and what they leave.
extension PodWorker {
  /// Bytes of a container's last words that are kept.
  private static let lastWordsBytesMax = 4096
  /// Bytes and lines of its log that stand in for them.
  private static let logTailBytesMax = 2048
  private static let logTailLinesMax = 80
  /// Seconds for which the stop after a hook that took its time goes on at least.
  private static let graceAfterHookSeconds: Int64 = 2

  /// Runs the hook and stops the container; returns how it ended.
  func stop(_ name: String, _ id: String, graceSeconds: Int64) async -> PodEvent {
    let begun = tools.now()
    // Whoever still sends here stops before the container is told to.
    await tools.hooks.beforeStop(PodIdentity(translation, addresses: addressesNow), name)
    var grace = graceSeconds
    if grace > 0, let hook = container(name)?.lifecycle?.preStop {
      await run(hook, name, id, timeout: .seconds(grace))
      grace = max(Self.graceAfterHookSeconds, grace - (tools.now() - begun) / 1000)
    }
    do throws(CRIError) {
      try await tools.runtime.stopContainer(id, graceSeconds: grace)
    } catch {
      if error.code != .notFound { return .stopFailed(container: name, id: id, message: "\(error)") }
    }
    let attempt = machineNow.containers.first { $0.rule.name == name }?.current?.attempt ?? 0
    if let exit = await exit(of: id, name, attempt) { return .exited(container: name, exit) }
    return .stopFailed(container: name, id: id, message: "it still runs after it was stopped")
  }

  /// Blocks nobody but the start: while the hook runs the container counts as running and not ready.
  func postStart(_ container: Container, _ id: String) async {
    guard let hook = container.lifecycle?.postStart else { return }
    let limit = Duration.seconds(pod.spec.terminationGracePeriodSeconds ?? 30)
    guard let result = await run(hook, container.name, id, timeout: max(limit, .seconds(30))), !result.success else {
      return
    }
    tools.logger.warning("pod \(key): container \(container.name): postStart hook failed: \(result.message)")
    try? await tools.runtime.stopContainer(id, graceSeconds: pod.spec.terminationGracePeriodSeconds ?? 30)
  }

  @discardableResult
  private func run(
    _ hook: LifecycleHandler, _ name: String, _ id: String, timeout: Duration
  ) async -> ProbeResult? {
    if let sleep = hook.sleep {
      try? await Task.sleep(for: min(.seconds(sleep.seconds), timeout))
      return ProbeResult(success: true)
    }
    var target: ProbeTarget?
    if let exec = hook.exec { target = .exec(exec.command) }
    if let get = hook.httpGet, let container = container(name) {
      target = ProbeTarget(get, of: container, address: addressesNow.first ?? "127.0.0.1")
    }
    guard let target else { return nil }
    return await tools.prober.run(target, container: id, runtime: tools.runtime, timeout: timeout)
  }

  /// How the container ended; nil while it runs or nobody can say.
  func exit(of id: String, _ name: String, _ attempt: UInt32) async -> ContainerExit? {
    let status: CRIContainerStatus
    do throws(CRIError) {
      status = try await tools.runtime.containerStatus(id, verbose: false).status
    } catch {
      guard error.code == .notFound else { return nil }
      return ContainerExit(
        id: id, attempt: attempt, code: 137, reason: "ContainerStatusUnknown", message: "the runtime does not know it")
    }
    guard status.state == .containerExited || status.state == .containerUnknown else { return nil }
    var exit = ContainerExit(
      id: id, attempt: attempt, code: status.exitCode, reason: status.reason, message: status.message,
      startedAt: status.startedAt, finishedAt: status.finishedAt)
    let words = await lastWords(name, attempt, failed: exit.code != 0)
    if !words.isEmpty { exit.message = words }
    return exit
  }

  private func lastWords(_ name: String, _ attempt: UInt32, failed: Bool) async -> String {
    let (store, uid) = (tools.volumes, uid)
    let file = Self.lastWordsFile(name, attempt)
    let log = "\(translation.logDirectory)/\(name)/\(attempt).log"
    let fallsBack = failed && container(name)?.terminationMessagePolicy == "FallbackToLogsOnError"
    return await onFreshThread {
      let said = (try? store.readFile(file, pod: uid, maxBytes: Self.lastWordsBytesMax)) ?? []
      if !said.isEmpty || !fallsBack { return String(decoding: said, as: UTF8.self) }
      guard let text = try? Files.readText(log, maxBytes: 16 << 20) else { return "" }
      // Each line is `time stream F|P text`.
      let lines = text.split(separator: "\n").suffix(Self.logTailLinesMax).map { line in
        line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false).last.map(String.init) ?? ""
      }
      return String(decoding: Array(lines.joined(separator: "\n").utf8).suffix(Self.logTailBytesMax), as: UTF8.self)
    }
  }

  /// Removes an ended instance and its log.
  func forget(_ name: String, _ id: String, _ attempt: UInt32) async {
    do throws(CRIError) {
      try await tools.runtime.removeContainer(id)
    } catch {
      if error.code != .notFound { tools.logger.warning("pod \(key): \(error)") }
    }
    try? tools.volumes.removeFile(Self.lastWordsFile(name, attempt), pod: uid)
    let (directory, log) = ("\(translation.logDirectory)/\(name)", "\(attempt).log")
    await onFreshThread {
      // Its older parts, too.
      for entry in (try? Directory(path: directory).list()) ?? []
      where entry.name == log || entry.name.hasPrefix("\(log).") {
        try? Files.remove("\(directory)/\(entry.name)")
      }
    }
  }

  func removeSandbox(_ id: String) async throws(CRIError) {
    do throws(CRIError) {
      try await tools.runtime.stopPodSandbox(id)
      try await tools.runtime.removePodSandbox(id)
    } catch {
      if error.code != .notFound { throw error }
    }
  }

  /// What cannot be removed now goes when the pod is taken down.
  func dropVolumes() async {
    let (store, uid) = (tools.volumes, uid)
    do throws(VolumeError) {
      try await onFreshThread { () throws(VolumeError) in try store.remove(pod: uid) }
    } catch {
      tools.logger.warning("pod \(key): \(error)")
    }
  }

  /// Removes every sandbox of the pod that the runtime has, then volumes and logs.
  func tearDown() async throws {
    var filter = CRIPodSandboxFilter()
    filter.labelSelector = [PodKey.podUID: uid]
    for sandbox in try await tools.runtime.listPodSandboxes(filter) where sandbox.labels[PodKey.podUID] == uid {
      try await removeSandbox(sandbox.id)
    }
    await removeCgroup()
    await tools.hooks.sandboxesGone(PodIdentity(translation, addresses: addressesNow))
    let (store, uid, logs) = (tools.volumes, uid, translation.logDirectory)
    try await onFreshThread { () throws(VolumeError) in
      try store.remove(pod: uid)
      do throws(SyscallError) {
        try Files.removeTree(logs)
      } catch {
        throw VolumeError(logs, "\(error)")
      }
    }
  }
}
