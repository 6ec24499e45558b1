internal import CRIClient
internal import CRIModel
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import SwiftProtobuf

/// Changes of CPU and memory of a pod that runs.
extension PodWorker {
  /// Says that the node has no room for what the pod wants.
  func postpone(_ pending: ResizeState.Pending) async {
    guard resize.pending != pending else { return }
    let isNews = resize.pending?.reason != pending.reason
    resize.pending = pending
    if isNews { tell(.warning("Resize\(pending.reason)", "Pod resize \(pending.reason): \(pending.message)")) }
    await tellChange()
  }

  /// Nothing is wanted any more but what the pod has.
  func dropWish() async {
    guard resize.pending != nil else { return }
    resize.pending = nil
    await tellChange()
  }

  /// Brings the pod's containers to the sizes of `wanted`; those that do not run get theirs when they start.
  func resize(to wanted: PodSpec) async {
    let old = pod
    var new = old
    new.spec = ResizePlan.spec(old.spec, sizedAs: wanted)
    guard new.spec != old.spec else { return await dropWish() }
    for container in ResizePlan.running(old.spec) where resize.actual[container.name] == nil {
      resize.actual[container.name] = container.resources
    }
    take(new)
    (resize.pending, resize.inProgress, resize.problem) = (nil, true, nil)
    tell(PodNote("ResizeStarted", "Pod resize started"))
    await tellChange()
    await actOnResize()
  }

  /// Does what is left to do; what fails is tried again at the agent's next look.
  func actOnResize() async {
    guard resize.inProgress, !resizeUnderWay, !machineNow.isDeleting else { return }
    resizeUnderWay = true
    defer { resizeUnderWay = false }
    var before = pod.spec
    for index in before.containers.indices {
      if let known = resize.actual[before.containers[index].name] { before.containers[index].resources = known }
    }
    for index in before.initContainers.indices {
      if let known = resize.actual[before.initContainers[index].name] { before.initContainers[index].resources = known }
    }
    var restarting = false
    do {
      // The whole first grows and shrinks last, so that its parts always have room in it.
      if Self.grows(Self.whole(before, self), Self.whole(pod.spec, self)) { try await resizeWhole() }
      let steps = ResizePlan.steps(from: before, to: pod.spec)
      for step in steps { try await perform(step) }
      restarting = steps.contains { step in
        machineNow.containers.contains { step == .restart(container: $0.rule.name) && $0.isBusy }
      }
      try await resizeWhole()
    } catch {
      let message = (error as? CRIError)?.message ?? (error as? TranslationError)?.message ?? "\(error)"
      guard resize.problem != message else { return }
      resize.problem = message
      tell(.warning("ResizeError", "Pod resize failed: \(message)"))
      return await tellChange()
    }
    resize.problem = nil
    if !restarting, !machineNow.containers.contains(where: { $0.isOutdated || $0.startsAgain }) {
      (resize.inProgress, resize.actual) = (false, [:])
      tell(PodNote("ResizeCompleted", "Pod resize completed"))
    }
    await tellChange()
  }

  private static func whole(_ spec: PodSpec, _ worker: PodWorker) -> CRILinuxContainerResources {
    var pod = worker.pod
    pod.spec = spec
    return PodTranslation(pod: pod, facts: worker.tools.facts).resources
  }

  private static func grows(_ old: CRILinuxContainerResources, _ new: CRILinuxContainerResources) -> Bool {
    func isMore(_ new: Int64, _ old: Int64) -> Bool { old > 0 && (new == 0 || new > old) }
    return isMore(new.cpuQuota, old.cpuQuota) || isMore(new.memoryLimitInBytes, old.memoryLimitInBytes)
  }

  private func perform(_ step: ResizePlan.Step) async throws {
    switch step {
    case .restart(let name):
      deliver(.outdated(container: name))
      resize.actual[name] = nil
    case .update(let name):
      guard let container = container(name),
        let running = machineNow.containers.first(where: { $0.rule.name == name })?.current
      else {
        resize.actual[name] = nil
        return
      }
      let wanted = translation.resources(of: container)
      try await checkUse(name, running.id, wanted.memoryLimitInBytes)
      try await tools.runtime.updateContainerResources(
        .with {
          $0.containerID = running.id
          $0.linux = wanted
        })
      resize.actual[name] = nil
    }
  }

  /// A limit below what is in use would have the kernel kill something.
  private func checkUse(_ name: String, _ id: String, _ limit: Int64) async throws {
    guard limit > 0, let old = resize.actual[name]?.limits["memory"], old.value > limit else { return }
    guard
      let stats = try? await tools.runtime.listPodSandboxStats(
        .with { $0.labelSelector = [PodKey.podUID: uid] })
    else { return }
    let used = stats.flatMap(\.linux.containers).first { $0.attributes.id == id }?.memory.usageBytes.value ?? 0
    guard Int64(clamping: used) > limit else { return }
    throw TranslationError(
      reason: "Error", "attempting to set container \(name) memory limit (\(limit)) below current usage (\(used))")
  }

  private func resizeWhole() async throws {
    await settleCgroup()
    guard let id = machineNow.sandboxID else { return }
    do throws(CRIError) {
      try await tools.runtime.updatePodSandboxResources(
        .with {
          $0.podSandboxID = id
          $0.resources = translation.resources
        })
    } catch {
      // A runtime without the call leaves the whole to its node.
      if error.code != .unimplemented { throw error }
    }
  }
}
