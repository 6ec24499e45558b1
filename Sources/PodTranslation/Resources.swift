internal import CRIModel
package import KubeModel
internal import SwiftProtobuf

/// How Kubernetes ranks a pod when the node is short of something.
package enum QOSClass: String, Sendable {
  case guaranteed = "Guaranteed"
  case burstable = "Burstable"
  case bestEffort = "BestEffort"

  var sliceName: String {
    switch self {
    case .guaranteed: ""
    case .burstable: "burstable"
    case .bestEffort: "besteffort"
    }
  }

  /// The cgroup in which the pods of a class are.
  package static func cgroup(_ qos: QOSClass, below root: String) -> String {
    var path = root
    while path.hasSuffix("/") { path.removeLast() }
    if !path.isEmpty, !path.hasPrefix("/") { path = "/" + path }
    switch qos {
    case .guaranteed: return path + "/kubepods"
    case .burstable: return path + "/kubepods/burstable"
    case .bestEffort: return path + "/kubepods/besteffort"
    }
  }

  package init(_ spec: PodSpec) {
    let containers = spec.containers + spec.initContainers
    let all = containers.map(\.resources)
    let counts = ["cpu", "memory"]
    if all.allSatisfy({ list in counts.allSatisfy { list.limits[$0] == nil && list.requests[$0] == nil } }) {
      self = .bestEffort
    } else if all.allSatisfy({ list in
      counts.allSatisfy { list.limits[$0] != nil && (list.requests[$0] ?? list.limits[$0]) == list.limits[$0] }
    }) {
      self = .guaranteed
    } else {
      self = .burstable
    }
  }
}

enum Resources {
  /// Microseconds over which a CPU quota holds.
  static let cpuPeriod: Int64 = 100_000

  /// - Note: shares are set only where CPU is asked for, so that a pod without limits runs on a host that has no cpu
  ///   controller.
  static func container(_ list: ResourceRequirements, pod: PodSpec, facts: NodeFacts) -> CRILinuxContainerResources {
    var out = CRILinuxContainerResources()
    fill(&out, cpuRequest: list.requests["cpu"] ?? list.limits["cpu"], cpuLimit: list.limits["cpu"])
    if let memory = list.limits["memory"], memory.value > 0 {
      out.memoryLimitInBytes = memory.value
      // The sum of memory and swap: none of the latter.
      out.memorySwapLimitInBytes = memory.value
    }
    out.oomScoreAdj = oomScore(list, QOSClass(pod), facts)
    for (name, amount) in list.limits.sorted(by: { $0.key < $1.key }) where name.hasPrefix("hugepages-") {
      out.hugepageLimits.append(
        .with {
          $0.pageSize = pageSize(String(name.dropFirst("hugepages-".count)))
          $0.limit = UInt64(max(0, amount.value))
        })
    }
    return out
  }

  /// The pod as a whole: sums over its containers, or the largest init container where that is more; a limit only where
  /// each container has one.
  static func pod(_ spec: PodSpec) -> CRILinuxContainerResources {
    var out = CRILinuxContainerResources()
    fillSum(spec, &out)
    return out
  }

  private static func fillSum(_ spec: PodSpec, _ out: inout CRILinuxContainerResources) {
    func total(_ amount: (ResourceRequirements) -> Int64?) -> Int64? {
      let sidecars = spec.initContainers.filter { $0.restartPolicy == "Always" }
      let running = (spec.containers + sidecars).map { amount($0.resources) }
      let initial = spec.initContainers.filter { $0.restartPolicy != "Always" }.map { amount($0.resources) }
      guard !running.contains(nil), !initial.contains(nil) else { return nil }
      let sum = running.reduce(Int64(0)) { $0.addingReportingOverflow($1 ?? 0).partialValue }
      return max(sum, initial.compactMap { $0 }.max() ?? 0)
    }
    let requested = total { ($0.requests["cpu"] ?? $0.limits["cpu"])?.milliValue ?? 0 } ?? 0
    let limit = total { $0.limits["cpu"]?.milliValue }
    fill(
      &out, cpuRequest: requested > 0 ? Quantity("\(requested)m") : nil, cpuLimit: limit.flatMap { Quantity("\($0)m") })
    if let memory = total({ $0.limits["memory"]?.value }), memory > 0 { out.memoryLimitInBytes = memory }
  }

  private static func fill(_ out: inout CRILinuxContainerResources, cpuRequest: Quantity?, cpuLimit: Quantity?) {
    if let cpuRequest { out.cpuShares = min(max(cpuRequest.milliValue.multipliedClamped(by: 1024) / 1000, 2), 262_144) }
    if let cpuLimit, cpuLimit.milliValue > 0 {
      out.cpuPeriod = cpuPeriod
      out.cpuQuota = max(cpuLimit.milliValue.multipliedClamped(by: cpuPeriod) / 1000, 1000)
    }
  }

  private static func oomScore(_ list: ResourceRequirements, _ qos: QOSClass, _ facts: NodeFacts) -> Int64 {
    switch qos {
    case .guaranteed: return -997
    case .bestEffort: return 1000
    case .burstable:
      let request = (list.requests["memory"] ?? list.limits["memory"])?.value ?? 0
      guard facts.memoryCapacityBytes > 0 else { return 999 }
      let share = 1000 - Int64(1000 * (Double(request) / Double(facts.memoryCapacityBytes)))
      return min(max(share, 3), 999)
    }
  }

  /// `2Mi` as the kernel's cgroup files call it: `2MB`.
  private static func pageSize(_ size: String) -> String { size.hasSuffix("i") ? "\(size.dropLast())B" : size }
}
