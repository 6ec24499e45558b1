import JSON
import KubeModel

extension Quantity {
  /// Compared in thousandths where they fit, else about.
  func isGreater(than other: Quantity) -> Bool {
    let (mine, theirs) = (milliValue, other.milliValue)
    let isExact = mine.magnitude < UInt64(Int64.max) && theirs.magnitude < UInt64(Int64.max)
    return isExact ? mine > theirs : about > other.about
  }

  /// Sums and rounding up need room above: what does not fit in 63 bits is no amount of anything.
  var isTooLarge: Bool { about.magnitude >= 0x1p63 }

  /// As a floating-point number, of which about 15 digits are right.
  private var about: Double {
    let suffixes: [(String, Double)] = [
      ("Ki", 0x1p10), ("Mi", 0x1p20), ("Gi", 0x1p30), ("Ti", 0x1p40), ("Pi", 0x1p50), ("Ei", 0x1p60), ("n", 1e-9),
      ("u", 1e-6), ("m", 1e-3), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18),
    ]
    let suffix = suffixes.first { text.hasSuffix($0.0) }
    let number = suffix.map { text.dropLast($0.0.count) } ?? text[...]
    return (Double(number) ?? 0) * (suffix?.1 ?? 1)
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
    if isHugePages, let page = Quantity(String(name.dropFirst("hugepages-".count))), page.milliValue > 0,
      amount.milliValue % page.milliValue != 0
    {
      invalid(path, amount.text, "\(amount.text) is not positive integer multiple of \(name)")
    }
  }

  /// Pieces cannot be split.
  mutating func quantity(_ name: String, _ amount: Quantity, _ path: FieldPath) {
    if amount.milliValue < 0 { invalid(path, amount.text, "must be greater than or equal to 0") }
    if amount.isTooLarge { invalid(path, amount.text, "must be less than 2^63") }
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
