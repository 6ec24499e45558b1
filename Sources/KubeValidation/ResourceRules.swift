import JSON
import KubeModel

extension Quantity {
  /// Compared in thousandths where they fit, in whole units where not.
  func isGreater(than other: Quantity) -> Bool {
    let fits = Int64.max / 1000
    if abs(value) < fits, abs(other.value) < fits { return milliValue > other.milliValue }
    return value > other.value
  }
}

/// Requests and limits: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
extension FieldErrors {
  private static let ofContainers: Set<String> = ["cpu", "memory", "ephemeral-storage"]
  private static let standard: Set<String> = [
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
    "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services",
    "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage", "requests.storage",
    "services.nodeports", "services.loadbalancers",
  ]

  mutating func resources(_ resources: ResourceRequirements, _ claimNames: Set<String>, _ path: FieldPath) {
    let limits = resources.limits.sorted { $0.key < $1.key }
    let requests = resources.requests.sorted { $0.key < $1.key }
    for (name, amount) in limits { resource(name, amount, path["limits"].key(name)) }
    for (name, amount) in requests {
      resource(name, amount, path["requests"].key(name))
      let mayOvercommit = Self.isNative(name) && !name.hasPrefix("hugepages-")
      if let limit = resources.limits[name] {
        if !mayOvercommit, amount != limit {
          invalid(path["requests"], amount.text, "must be equal to \(name) limit of \(limit.text)")
        } else if amount.isGreater(than: limit) {
          invalid(path["requests"], amount.text, "must be less than or equal to \(name) limit of \(limit.text)")
        }
      } else if !mayOvercommit {
        required(path["limits"], "Limit must be set for non overcommitable resources")
      }
    }
    let names = Set((limits + requests).map(\.key))
    if names.isDisjoint(with: ["cpu", "memory"]), names.contains(where: { $0.hasPrefix("hugepages-") }) {
      forbidden(path, "HugePages require cpu or memory")
    }
    claims(resources.claims, claimNames, path["claims"])
  }

  private static func isNative(_ name: String) -> Bool { !name.contains("/") || name.contains("kubernetes.io/") }

  private mutating func resource(_ name: String, _ amount: Quantity, _ path: FieldPath) {
    let messages = NameRules.qualifiedName(name)
    invalid(path, name, messages)
    let isHugePages = name.hasPrefix("hugepages-")
    if !name.contains("/") {
      if messages.isEmpty, !Self.standard.contains(name), !isHugePages {
        invalid(path, name, "must be a standard resource type or fully qualified")
      }
      if !Self.ofContainers.contains(name), !isHugePages {
        invalid(path, name, "must be a standard resource for containers")
      }
    } else if !Self.isNative(name), name.hasPrefix("requests.") || !NameRules.qualifiedName("requests.\(name)").isEmpty
    {
      invalid(path, name, "doesn't follow extended resource name standard")
    }
    quantity(name, amount, path)
    if isHugePages, let page = Quantity(String(name.dropFirst("hugepages-".count))), page.value > 0,
      amount.value % page.value != 0
    {
      invalid(path, amount.text, "\(amount.text) is not positive integer multiple of \(name)")
    }
  }

  /// Pieces cannot be split.
  mutating func quantity(_ name: String, _ amount: Quantity, _ path: FieldPath) {
    if amount.milliValue < 0 { invalid(path, amount.text, "must be greater than or equal to 0") }
    let isWhole = !Self.isNative(name) || ["pods", "services", "secrets", "configmaps"].contains(name)
    if isWhole, amount.milliValue % 1000 != 0 { invalid(path, amount.text, "must be an integer") }
  }

  private mutating func claims(_ claims: [ResourceClaim], _ known: Set<String>, _ path: FieldPath) {
    var seen: Set<String> = []
    for (index, claim) in claims.enumerated() {
      if claim.name.isEmpty {
        required(path[index])
        continue
      }
      let key = claim.request.map { "\(claim.name)/\($0)" } ?? claim.name
      if !seen.insert(key).inserted { duplicate(path[index], key) }
      if let request = claim.request { dnsLabel(path[index]["request"], request) }
      if !known.contains(claim.name) {
        let names = known.isEmpty ? " which is empty" : ": \(known.sorted().joined(separator: ", "))"
        notFound(path[index], claim.name, "must be one of the names in pod.spec.resourceClaims\(names)")
      }
    }
  }
}
