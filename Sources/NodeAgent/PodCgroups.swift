internal import CRIModel
internal import Kernel
internal import KubeModel
internal import Logging
internal import PodTranslation

/// The cgroups above those of the runtime: what pods of one class, and a pod as a whole, may use.
///
/// The runtime makes them when it makes a pod's sandbox; here they get their weights and limits. A host whose hierarchy has
/// no controller for one does without it, as its containers do. Blocks on the file system.
struct PodCgroups: Sendable {
  private let hierarchy: CgroupHierarchy

  /// Nil: this host has no cgroup v2.
  init?() {
    do throws(CgroupError) { hierarchy = try CgroupHierarchy.discover() } catch { return nil }
  }

  init(_ hierarchy: CgroupHierarchy) { self.hierarchy = hierarchy }

  /// Shares of one that asked for nothing.
  static let sharesMin: Int64 = 2

  static func limits(_ resources: CRILinuxContainerResources) -> CgroupLimits {
    var limits = CgroupLimits()
    limits.cpuShares = UInt64(max(resources.cpuShares, sharesMin))
    limits.cpuQuotaMicroseconds = resources.cpuQuota > 0 ? resources.cpuQuota : -1
    limits.cpuPeriodMicroseconds = resources.cpuPeriod > 0 ? UInt64(resources.cpuPeriod) : nil
    limits.memoryBytesMax = resources.memoryLimitInBytes > 0 ? UInt64(resources.memoryLimitInBytes) : .max
    return limits
  }

  /// Sets what a pod may use; one that is not there is not made.
  /// - Returns: what could not be set, a sentence each.
  func set(_ path: String, _ resources: CRILinuxContainerResources) -> [String] {
    apply(path, Self.limits(resources))
  }

  /// Sets what all pods of a class weigh together.
  func weigh(_ path: String, shares: Int64) -> [String] {
    var limits = CgroupLimits()
    limits.cpuShares = UInt64(max(shares, Self.sharesMin))
    return apply(path, limits)
  }

  private func apply(_ path: String, _ limits: CgroupLimits) -> [String] {
    do throws(CgroupError) {
      let group = hierarchy.group(try CgroupPath(path))
      guard group.exists else { return [] }
      // What the host has no controller for is told at the containers, by who refuses or leaves it out there.
      _ = try group.apply(limits, tolerateMissing: true)
      return []
    } catch {
      return ["cgroup \(path): \(error)"]
    }
  }

  /// Removes a pod's cgroup that its runtime has left behind.
  func remove(_ path: String) {
    guard let path = try? CgroupPath(path) else { return }
    _ = try? hierarchy.group(path).removeIfEmpty()
  }
}

extension PodWorker {
  /// Sets what the pod as a whole may use.
  func settleCgroup() async {
    let translation = self.translation
    // Slices belong to systemd, who would put back what somebody else writes there.
    guard let path = translation.cgroup, !translation.facts.usesSlices else { return }
    let problems = await onFreshThread { PodCgroups()?.set(path, translation.resources) ?? [] }
    for problem in problems { tools.logger.warning("pod \(key): \(problem)") }
  }

  func removeCgroup() async {
    // Slices belong to systemd, who would put back what somebody else writes there.
    guard let path = translation.cgroup, !translation.facts.usesSlices else { return }
    await onFreshThread { PodCgroups()?.remove(path) }
  }
}

extension NodeAgent {
  /// All Burstable pods together weigh what they ask for, all that ask for nothing next to nothing.
  func weighClasses() async {
    guard let root = tools.facts.cgroupRoot, !tools.facts.usesSlices else { return }
    var shares: Int64 = 0
    for report in reports.values where report.machine.sandboxID != nil && QOSClass(report.pod.spec) == .burstable {
      shares += PodTranslation(pod: report.pod, facts: tools.facts).resources.cpuShares
    }
    guard shares != burstableShares else { return }
    burstableShares = shares
    let total = shares
    let problems = await onFreshThread { () -> [String] in
      guard let groups = PodCgroups() else { return [] }
      return groups.weigh(QOSClass.cgroup(.burstable, below: root), shares: total)
        + groups.weigh(QOSClass.cgroup(.bestEffort, below: root), shares: PodCgroups.sharesMin)
    }
    for problem in problems { tools.logger.warning("\(problem)") }
  }
}
