import JSON
import KubeModel

/// Roles, their bindings, and requests for certificates.
extension FieldErrors {
  private static let rbac = "rbac.authorization.k8s.io"

  mutating func role(_ role: Role) {
    metadata(role.metadata, .byPathSegment)
    policyRules(role.rules, isNamespaced: true)
  }

  mutating func clusterRole(_ role: ClusterRole) {
    metadata(role.metadata, .clusterByPathSegment)
    policyRules(role.rules, isNamespaced: false)
    guard let aggregation = role.aggregationRule else { return }
    let path = FieldPath("aggregationRule")["clusterRoleSelectors"]
    if aggregation.clusterRoleSelectors.isEmpty {
      required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
    }
    for (index, selector) in aggregation.clusterRoleSelectors.enumerated() { labelSelector(selector, path[index]) }
  }

  private mutating func policyRules(_ rules: [PolicyRule], isNamespaced: Bool) {
    for (index, rule) in rules.enumerated() {
      let path = FieldPath("rules")[index]
      if rule.verbs.isEmpty { required(path["verbs"], "verbs must contain at least one value") }
      if !rule.nonResourceURLs.isEmpty {
        let urls = JSONValue(rule.nonResourceURLs)
        if isNamespaced {
          invalid(path["nonResourceURLs"], urls, "namespaced rules cannot apply to non-resource URLs")
        }
        if !rule.apiGroups.isEmpty || !rule.resources.isEmpty || !rule.resourceNames.isEmpty {
          invalid(
            path["nonResourceURLs"], urls, "rules cannot apply to both regular resources and non-resource URLs")
        }
        continue
      }
      if rule.apiGroups.isEmpty { required(path["apiGroups"], "resource rules must supply at least one api group") }
      if rule.resources.isEmpty { required(path["resources"], "resource rules must supply at least one resource") }
    }
  }

  mutating func updateRole(_ new: Role, _ old: Role) {
    metadataUpdate(new.metadata, old.metadata)
    role(new)
  }

  mutating func updateClusterRole(_ new: ClusterRole, _ old: ClusterRole) {
    metadataUpdate(new.metadata, old.metadata)
    clusterRole(new)
  }

  // MARK: bindings

  mutating func roleBinding(_ binding: RoleBinding) {
    metadata(binding.metadata, .byPathSegment)
    roleReference(binding.roleRef, ["Role", "ClusterRole"])
    subjects(binding.subjects, isNamespaced: true)
  }

  mutating func clusterRoleBinding(_ binding: ClusterRoleBinding) {
    metadata(binding.metadata, .clusterByPathSegment)
    roleReference(binding.roleRef, ["ClusterRole"])
    subjects(binding.subjects, isNamespaced: false)
  }

  private mutating func roleReference(_ reference: RoleRef, _ kinds: [String]) {
    let path = FieldPath("roleRef")
    choice(path["apiGroup"], reference.apiGroup, of: [Self.rbac])
    if !kinds.contains(reference.kind) { notSupported(path["kind"], reference.kind, kinds) }
    if reference.name.isEmpty {
      required(path["name"])
    } else {
      invalid(path["name"], reference.name, NameRules.pathSegment(reference.name))
    }
  }

  private mutating func subjects(_ subjects: [Subject], isNamespaced: Bool) {
    for (index, subject) in subjects.enumerated() {
      let path = FieldPath("subjects")[index]
      if subject.name.isEmpty { required(path["name"]) }
      switch subject.kind {
      case "ServiceAccount":
        if !subject.name.isEmpty { invalid(path["name"], subject.name, NameRules.dnsSubdomain(subject.name)) }
        if let group = subject.apiGroup, !group.isEmpty { notSupported(path["apiGroup"], group, [""]) }
        if !isNamespaced, (subject.namespace ?? "").isEmpty { required(path["namespace"]) }
      case "User", "Group":
        if let group = subject.apiGroup, group != Self.rbac { notSupported(path["apiGroup"], group, [Self.rbac]) }
      default: notSupported(path["kind"], subject.kind, ["ServiceAccount", "User", "Group"])
      }
    }
  }

  mutating func updateRoleBinding(_ new: RoleBinding, _ old: RoleBinding) {
    metadataUpdate(new.metadata, old.metadata)
    roleBinding(new)
    sameRole(new.roleRef, old.roleRef)
  }

  mutating func updateClusterRoleBinding(_ new: ClusterRoleBinding, _ old: ClusterRoleBinding) {
    metadataUpdate(new.metadata, old.metadata)
    clusterRoleBinding(new)
    sameRole(new.roleRef, old.roleRef)
  }

  private mutating func sameRole(_ new: RoleRef, _ old: RoleRef) {
    if new != old { invalid(FieldPath("roleRef"), new.json, "cannot change roleRef") }
  }

  // MARK: certificate signing requests

  private static let usages: Set<String> = [
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement", "data encipherment",
    "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth", "client auth", "code signing",
    "email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing",
    "microsoft sgc", "netscape sgc",
  ]
  private static let certificateSecondsMin: Int32 = 600

  mutating func certificateRequest(_ request: CertificateSigningRequest) {
    metadata(request.metadata, .clusterByPathSegment)
    let (spec, path) = (request.spec, FieldPath("spec"))
    let text = String(decoding: spec.request.bytes, as: UTF8.self)
    if !text.contains("-----BEGIN CERTIFICATE REQUEST-----"), !text.contains("-----BEGIN NEW CERTIFICATE REQUEST-----")
    {
      invalid(path["request"], spec.request.json, "PEM block type must be CERTIFICATE REQUEST")
    }
    if spec.usages.isEmpty { required(path["usages"], "usages must be set") }
    for (index, usage) in spec.usages.enumerated() {
      if !Self.usages.contains(usage) { notSupported(path["usages"][index], usage, Self.usages.sorted()) }
      if spec.usages[..<index].contains(usage) { duplicate(path["usages"][index], usage) }
    }
    if spec.signerName.isEmpty {
      required(path["signerName"])
    } else if spec.signerName == "kubernetes.io/legacy-unknown" {
      invalid(path["signerName"], spec.signerName, "the legacy signerName is not allowed via this API version")
    } else {
      signerName(spec.signerName, path["signerName"])
    }
    if let seconds = spec.expirationSeconds, seconds < Self.certificateSecondsMin {
      invalid(
        path["expirationSeconds"], seconds, "may not specify a duration less than 600 seconds (10 minutes)")
    }
    certificateConditions(request)
  }

  private mutating func signerName(_ name: String, _ path: FieldPath) {
    let parts = name.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else {
      return invalid(
        path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
    }
    let domain = NameRules.dnsSubdomain(parts[0])
    invalid(
      path, name,
      domain.isEmpty && !parts[0].contains(".")
        ? ["should be a domain with at least two segments separated by dots"] : domain)
    invalid(path, name, NameRules.dnsSubdomain(parts[1]))
  }

  private mutating func certificateConditions(_ request: CertificateSigningRequest) {
    let path = FieldPath("status")["conditions"]
    let types = request.status.conditions.map(\.type)
    for (index, condition) in request.status.conditions.enumerated() {
      if condition.type.isEmpty { required(path[index]["type"]) }
      if condition.status.isEmpty { required(path[index]["status"]) }
      if ["Approved", "Denied", "Failed"].contains(condition.type), condition.status != "True",
        !condition.status.isEmpty
      {
        notSupported(path[index]["status"], condition.status, ["True"])
      }
      if condition.type == "Denied" && types[..<index].contains("Approved")
        || condition.type == "Approved" && types[..<index].contains("Denied")
      {
        invalid(path[index]["type"], condition.type, "Approved and Denied conditions are mutually exclusive")
      } else if types[..<index].contains(condition.type) {
        duplicate(path[index]["type"], condition.type)
      }
    }
  }

  mutating func updateCertificateRequest(_ new: CertificateSigningRequest, _ old: CertificateSigningRequest) {
    metadataUpdate(new.metadata, old.metadata)
    certificateRequest(new)
    if let before = old.status.certificate, !before.bytes.isEmpty, new.status.certificate != before {
      forbidden(FieldPath("status")["certificate"], "updates may not set certificate content")
    }
  }
}
