internal import CRIClient
internal import CRIModel
internal import Kernel
internal import KubeModel
internal import PodTranslation
internal import Volumes

/// How containers start, and how they are asked how they are.
extension PodWorker {
  func start(_ name: String, _ attempt: UInt32) async {
    guard let container = container(name), let sandbox = machineNow.sandboxID else {
      deliver(
        .startFailed(container: name, attempt: attempt, id: nil, reason: "RunContainerError", message: "no sandbox"))
      return
    }
    let config: CRIContainerConfig
    do {
      config = try await self.config(container, attempt)
    } catch {
      let known = error as? TranslationError
      deliver(
        .startFailed(
          container: name, attempt: attempt, id: nil, reason: known?.reason ?? "CreateContainerConfigError",
          message: known?.message ?? "\(error)"))
      return
    }
    var made: String?
    do {
      let id = try await tools.runtime.createContainer(
        podSandboxID: sandbox, config: config, sandboxConfig: translation.sandbox(attempt: machineNow.sandboxAttempt))
      made = id
      try await tools.runtime.startContainer(id)
      deliver(.started(container: name, id: id, attempt: attempt, at: SystemClock.wallNanoseconds))
      await postStart(container, id)
    } catch {
      let reason = made == nil ? "CreateContainerError" : "RunContainerError"
      deliver(.startFailed(container: name, attempt: attempt, id: made, reason: reason, message: error.message))
    }
  }

  private func config(_ container: Container, _ attempt: UInt32) async throws -> CRIContainerConfig {
    let image = imageReferences[container.name] ?? container.image ?? ""
    if pod.spec.securityContext?.runAsNonRoot ?? false || container.securityContext?.runAsNonRoot ?? false {
      let known = try await tools.runtime.imageStatus(image, verbose: false).image
      let user = known.hasUid ? known.uid.value : nil
      try translation.checkNonRoot(container, imageUser: user, imageUserName: known.username)
    }
    let translated = try ContainerTranslation(
      container, of: translation, objects: objectsNow, podIPs: machineNow.addresses)
    let inner = try translated.innerPaths()
    let hosts = translation.hostsFile(podIPs: machineNow.addresses, hostText: tools.hostsText())
    let (store, uid, paths, name) = (tools.volumes, uid, volumePaths, container.name)
    let logs = "\(translation.logDirectory)/\(name)"
    let words = Self.lastWordsFile(name, attempt)
    let sources: [String]
    let hostsPath: String?
    let wordsPath: String
    (sources, hostsPath, wordsPath) = try await onFreshThread { () throws(VolumeError) in
      var sources: [String] = []
      for (index, mount) in container.volumeMounts.enumerated() {
        guard let path = paths[mount.name] else { throw VolumeError(mount.name, "was not made") }
        // The runtime knows what is in an image, and where.
        guard path.hasPrefix("/") else {
          sources.append(path)
          continue
        }
        sources.append(
          try store.mountSource(volumePath: path, inner: inner[index], pod: uid, container: name, index: index))
      }
      let hostsPath = try hosts.map { text throws(VolumeError) in
        try store.writeFile("hosts", Array(text.utf8), pod: uid)
      }
      let wordsPath = try store.writeFile(words, [], pod: uid, mode: 0o666)
      do throws(SyscallError) {
        try Files.makeDirectories(logs, mode: 0o755)
      } catch {
        throw VolumeError(name, "\(error)")
      }
      return (sources, hostsPath, wordsPath)
    }
    var config = translated.config(
      attempt: attempt, imageReference: image, mountSources: sources, hostsFile: hostsPath, terminationLog: wordsPath)
    if let target = pod.spec.ephemeralContainers.first(where: { $0.name == name })?.targetContainerName,
      !target.isEmpty
    {
      guard let running = machineNow.containers.first(where: { $0.rule.name == target })?.current else {
        throw TranslationError("target container \"\(target)\" does not run")
      }
      config.linux.securityContext.namespaceOptions.pid = .target
      config.linux.securityContext.namespaceOptions.targetID = running.id
    }
    return config
  }

  static func lastWordsFile(_ container: String, _ attempt: UInt32) -> String { "\(container).\(attempt).termination" }

  func probe(_ name: String, _ id: String, _ kind: ProbeKind) async -> PodEvent {
    let owner = container(name)
    let probe =
      switch kind {
      case .startup: owner?.startupProbe
      case .liveness: owner?.livenessProbe
      case .readiness: owner?.readinessProbe
      }
    guard let owner, let probe,
      let target = ProbeTarget(probe, of: owner, address: machineNow.addresses.first ?? "127.0.0.1")
    else { return .probed(container: name, id: id, kind, success: false, message: "no target") }
    let timeout = Duration.seconds(Int64(max(1, probe.timeoutSeconds ?? 1)))
    let result = await tools.prober.run(target, container: id, runtime: tools.runtime, timeout: timeout)
    return .probed(container: name, id: id, kind, success: result.success, message: result.message)
  }
}
