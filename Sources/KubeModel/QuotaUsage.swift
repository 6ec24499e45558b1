/// What the objects of a namespace use of a ResourceQuota.
package enum QuotaUsage {
  /// Amounts are in thousandths: of cores, bytes, pieces.
  package typealias Amounts = [String: Int64]

  /// Whether a quota's scopes take a pod in.
  package static func covers(_ quota: ResourceQuota, _ pod: Pod) -> Bool {
    let plain = quota.spec.scopes.allSatisfy { matches(pod, $0) }
    return plain
      && (quota.spec.scopeSelector?.matchExpressions ?? []).allSatisfy { requirement in
        guard requirement.scopeName == "PriorityClass" else { return matches(pod, requirement.scopeName) }
        let name = pod.spec.priorityClassName.flatMap { $0.isEmpty ? nil : $0 }
        switch requirement.operator {
        case "In": return name.map(requirement.values.contains) ?? false
        case "NotIn": return name.map { !requirement.values.contains($0) } ?? true
        case "Exists": return name != nil
        case "DoesNotExist": return name == nil
        default: return false
        }
      }
  }

  private static func matches(_ pod: Pod, _ scope: String) -> Bool {
    let isTerminating = pod.spec.activeDeadlineSeconds != nil
    let isBestEffort = (pod.spec.containers + pod.spec.initContainers).allSatisfy {
      $0.resources.requests.isEmpty && $0.resources.limits.isEmpty
    }
    switch scope {
    case "Terminating": return isTerminating
    case "NotTerminating": return !isTerminating
    case "BestEffort": return isBestEffort
    case "NotBestEffort": return !isBestEffort
    case "PriorityClass": return !(pod.spec.priorityClassName ?? "").isEmpty
    case "CrossNamespacePodAffinity": return crossesNamespaces(pod)
    default: return false
    }
  }

  private static func crossesNamespaces(_ pod: Pod) -> Bool {
    guard let affinity = pod.spec.affinity else { return false }
    var terms = affinity.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
    terms += affinity.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
    terms += (affinity.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(\.podAffinityTerm)
    terms += (affinity.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(\.podAffinityTerm)
    return terms.contains { !$0.namespaces.isEmpty || $0.namespaceSelector != nil }
  }

  /// What one pod counts for; a finished one is only an object.
  package static func of(_ pod: Pod) -> Amounts {
    var used: Amounts = ["count/pods": 1000]
    guard !["Succeeded", "Failed"].contains(pod.status.phase ?? "") else { return used }
    used["pods"] = 1000
    for (name, amount) in together(pod, \.requests) {
      used["requests.\(name)"] = amount
      if ["cpu", "memory", "ephemeral-storage"].contains(name) || name.hasPrefix("hugepages-") { used[name] = amount }
    }
    for (name, amount) in together(pod, \.limits) { used["limits.\(name)"] = amount }
    return used
  }

  private static func together(_ pod: Pod, _ path: KeyPath<ResourceRequirements, [String: Quantity]>) -> Amounts {
    var sum: Amounts = [:]
    var peak: Amounts = [:]
    func add(_ quantities: [String: Quantity], to amounts: inout Amounts) {
      for (name, quantity) in quantities { amounts[name] = (amounts[name] ?? 0).addingClamped(quantity.milliValue) }
    }
    for container in pod.spec.containers { add(container.resources[keyPath: path], to: &sum) }
    var sidecars: Amounts = [:]
    for container in pod.spec.initContainers {
      if container.restartPolicy == "Always" {
        add(container.resources[keyPath: path], to: &sidecars)
        add(container.resources[keyPath: path], to: &sum)
        peak.merge(sidecars, uniquingKeysWith: max)
      } else {
        var now = sidecars
        add(container.resources[keyPath: path], to: &now)
        peak.merge(now, uniquingKeysWith: max)
      }
    }
    sum.merge(peak, uniquingKeysWith: max)
    if !sum.isEmpty { add(pod.spec.overhead, to: &sum) }
    return sum
  }

  package static func of(_ claim: PersistentVolumeClaim) -> Amounts {
    let storage = claim.spec.resources.requests["storage"]?.milliValue ?? 0
    var used: Amounts = [
      "persistentvolumeclaims": 1000, "count/persistentvolumeclaims": 1000, "requests.storage": storage,
    ]
    if let name = claim.spec.storageClassName, !name.isEmpty {
      used["\(name).storageclass.storage.k8s.io/persistentvolumeclaims"] = 1000
      used["\(name).storageclass.storage.k8s.io/requests.storage"] = storage
    }
    return used
  }

  package static func of(_ service: Service) -> Amounts {
    var used: Amounts = ["services": 1000, "count/services": 1000]
    let ports = Int64(service.spec.ports.count)
    switch service.spec.type {
    case "NodePort": used["services.nodeports"] = ports * 1000
    case "LoadBalancer":
      used["services.loadbalancers"] = 1000
      used["services.nodeports"] = service.spec.allocateLoadBalancerNodePorts == false ? 0 : ports * 1000
    default: break
    }
    return used
  }

  /// As a quantity in the manner of `hard`: binary suffixes where that has one.
  package static func quantity(milli: Int64, like hard: Quantity) -> Quantity {
    func made(_ text: String) -> Quantity { Quantity(text) ?? Quantity() }
    if milli % 1000 != 0 { return made("\(milli)m") }
    let value = milli / 1000
    guard hard.text.hasSuffix("i"), value != 0 else { return made("\(value)") }
    for (suffix, shift) in [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
      if value % (1 << Int64(shift)) == 0 { return made("\(value >> Int64(shift))\(suffix)") }
    }
    return made("\(value)")
  }
}

extension Int64 {
  /// The sum, or the nearest number there is.
  package func addingClamped(_ other: Int64) -> Int64 {
    let (sum, isOver) = addingReportingOverflow(other)
    return isOver ? (other > 0 ? .max : .min) : sum
  }
}
