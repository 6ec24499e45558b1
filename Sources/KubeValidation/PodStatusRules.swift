import JSON
import KubeModel

/// Status of pods, as a node reports it.
extension FieldErrors {
  mutating func updatePodStatus(_ new: Pod, _ old: Pod) {
    metadataUpdate(new.metadata, old.metadata)
    let path = FieldPath("status")
    for (index, condition) in new.status.conditions.enumerated()
    where !["PodScheduled", "Ready", "Initialized"].contains(condition.type) {
      qualifiedName(FieldPath("metadata")["conditions"][index]["Type"], condition.type)
    }
    if new.spec.nodeName != old.spec.nodeName { forbidden(path["nodeName"], "may not be changed directly") }
    if let node = new.status.nominatedNodeName, !node.isEmpty, node != old.status.nominatedNodeName {
      dnsSubdomain(path["nominatedNodeName"], node)
    }
    if let before = old.status.qosClass { immutable(path["qosClass"], new.status.qosClass, before) }
    let policy = old.spec.restartPolicy ?? "Always"
    let restarting = Set(old.spec.initContainers.filter { $0.restartPolicy == "Always" }.map(\.name))
    restarts(new.status.containerStatuses, old.status.containerStatuses, policy, path["containerStatuses"])
    restarts(
      new.status.initContainerStatuses, old.status.initContainerStatuses.filter { !restarting.contains($0.name) },
      policy, path["initContainerStatuses"])
    restarts(
      new.status.ephemeralContainerStatuses, old.status.ephemeralContainerStatuses, "Never",
      path["ephemeralContainerStatuses"])
    addresses(new.status.podIPs.map(\.ip), path["podIPs"])
    addresses(new.status.hostIPs.map(\.ip), path["hostIPs"])
    if let first = new.status.hostIPs.first, first.ip != new.status.hostIP ?? "" {
      invalid(path["hostIPs"][0]["ip"], first.ip, "must be equal to `hostIP`")
    }
  }

  /// What ended for good does not run again.
  private mutating func restarts(
    _ new: [ContainerStatus], _ old: [ContainerStatus], _ policy: String, _ path: FieldPath
  ) {
    if policy == "Always" { return }
    for (index, before) in old.enumerated() {
      guard let end = before.state.terminated, !(end.exitCode != 0 && policy == "OnFailure") else { continue }
      for now in new where now.name == before.name && now.state.terminated == nil {
        forbidden(path[index]["state"], "may not be transitioned to non-terminated state")
      }
    }
  }

  private mutating func addresses(_ addresses: [String], _ path: FieldPath) {
    for (index, value) in addresses.enumerated() { address(path[index], value) }
    guard addresses.count > 1 else { return }
    oneOfEachFamily(path, addresses, "may specify no more than one IP for each IP family")
    for (index, value) in addresses.enumerated() where addresses[..<index].contains(value) {
      duplicate(path[index], ["ip": .string(value)])
    }
  }
}
