import JSON
import ObjectStore

extension APIServer {
  static let firstNamespaces = ["default", "kube-system", "kube-public", "kube-node-lease"]
  static let authorityConfigMap = "kube-root-ca.crt"

  /// Makes what every cluster has and what is not there yet: namespaces, their first objects, the Service `kubernetes`.
  /// To be called once before requests are served; idempotent.
  package func bootstrap() async throws(APIStatus) {
    for name in Self.firstNamespaces { try await ensureNamespace(name) }
    try await bootstrapRoles()
    let priorities = missingPriorityClasses(configuration.now())
    if !priorities.isEmpty {
      try await commitOwn(
        Transaction(checks: Dictionary(uniqueKeysWithValues: priorities.map { ($0.key, 0) }), puts: priorities))
    }
    try await ensure(
      "v1", "services", namespace: "default", name: "kubernetes", kubernetesService, isKept: { _ in true })
    try await ensure(
      "discovery.k8s.io/v1", "endpointslices", namespace: "default", name: "kubernetes", kubernetesEndpoints,
      isKept: { [kubernetesEndpoints] in
        $0["endpoints"] == kubernetesEndpoints["endpoints"] && $0["ports"] == kubernetesEndpoints["ports"]
      })
    rebuildAllocations()
  }

  private func ensureNamespace(_ name: String) async throws(APIStatus) {
    guard let resource = resources.resource(apiVersion: "v1", plural: "namespaces") else { return }
    let now = configuration.now()
    let key = resource.key(namespace: "", name: name)
    if store.get(key) == nil {
      let object: JSONObject = [
        "metadata": Self.newMetadata(name, namespace: nil, labels: ["kubernetes.io/metadata.name": name], now),
        "spec": ["finalizers": ["kubernetes"]], "status": ["phase": "Active"],
      ]
      try await commitOwn(
        Transaction(checks: [key: 0], puts: [(key, resource.stored(object))] + namespaceContents(name, now)))
      return
    }
    // A new authority, or objects that somebody removed.
    var transaction = Transaction()
    for (key, value) in namespaceContents(name, now) {
      guard let stored = store.get(key) else {
        transaction.checks[key] = 0
        transaction.puts.append((key, value))
        continue
      }
      guard key.hasPrefix("/configmaps/"), var document = (try? JSONValue.parse(stored.value))?.object,
        let fresh = (try? JSONValue.parse(value))?.object, document["data"] != fresh["data"],
        let configMaps = resources.resource(apiVersion: "v1", plural: "configmaps")
      else { continue }
      document["data"] = fresh["data"]
      transaction.checks[key] = stored.revision
      transaction.puts.append((key, configMaps.stored(document)))
    }
    if !transaction.puts.isEmpty { try await commitOwn(transaction) }
  }

  /// The objects that a namespace begins with, as they are stored.
  func namespaceContents(_ namespace: String, _ now: Int64) -> [(key: String, value: [UInt8])] {
    var contents: [(key: String, value: [UInt8])] = []
    if let accounts = resources.resource(apiVersion: "v1", plural: "serviceaccounts") {
      contents.append(
        (
          accounts.key(namespace: namespace, name: "default"),
          accounts.stored(["metadata": Self.newMetadata("default", namespace: namespace, now)])
        ))
    }
    if let configMaps = resources.resource(apiVersion: "v1", plural: "configmaps") {
      let annotation =
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
        + "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
        + "Kubernetes clusters."
      contents.append(
        (
          configMaps.key(namespace: namespace, name: Self.authorityConfigMap),
          configMaps.stored([
            "metadata": Self.newMetadata(
              Self.authorityConfigMap, namespace: namespace, annotations: ["kubernetes.io/description": annotation],
              now),
            "data": ["ca.crt": .string(configuration.authorityPEM)],
          ])
        ))
    }
    return contents
  }

  static func newMetadata(
    _ name: String, namespace: String?, labels: [String: String] = [:], annotations: [String: String] = [:],
    _ now: Int64
  ) -> JSONValue {
    var metadata: JSONObject = ["name": .string(name)]
    if let namespace { metadata["namespace"] = .string(namespace) }
    metadata["uid"] = .string(ObjectNames.uid())
    metadata["creationTimestamp"] = .string(ObjectNames.time(now))
    if !labels.isEmpty { metadata["labels"] = JSONValue(labels) }
    if !annotations.isEmpty { metadata["annotations"] = JSONValue(annotations) }
    return .object(metadata)
  }

  private var kubernetesService: JSONObject {
    let address = configuration.serviceNetwork.first
    return [
      "metadata": Self.newMetadata(
        "kubernetes", namespace: "default", labels: ["component": "apiserver", "provider": "kubernetes"],
        configuration.now()),
      "spec": [
        "clusterIP": .string(address), "clusterIPs": [.string(address)], "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [
          ["name": "https", "port": 443, "protocol": "TCP", "targetPort": .integer(Int64(configuration.securePort))]
        ],
        "sessionAffinity": "None", "type": "ClusterIP",
      ],
      "status": ["loadBalancer": [:]],
    ]
  }

  private var kubernetesEndpoints: JSONObject {
    [
      "metadata": Self.newMetadata(
        "kubernetes", namespace: "default", labels: ["kubernetes.io/service-name": "kubernetes"], configuration.now()),
      "addressType": .string(configuration.advertiseAddress.contains(":") ? "IPv6" : "IPv4"),
      "endpoints": [
        ["addresses": [.string(configuration.advertiseAddress)], "conditions": ["ready": true]]
      ],
      "ports": [["name": "https", "port": .integer(Int64(configuration.securePort)), "protocol": "TCP"]],
    ]
  }

  /// Makes an object, or replaces one that is not as it should be, but for its identity.
  private func ensure(
    _ apiVersion: String, _ plural: String, namespace: String, name: String, _ object: JSONObject,
    isKept: (JSONObject) -> Bool
  ) async throws(APIStatus) {
    guard let resource = resources.resource(apiVersion: apiVersion, plural: plural) else { return }
    let key = resource.key(namespace: namespace, name: name)
    guard let stored = store.get(key), let present = (try? JSONValue.parse(stored.value))?.object else {
      try await commitOwn(Transaction(checks: [key: 0], puts: [(key, resource.stored(object))]))
      return
    }
    guard !isKept(present) else { return }
    var replacement = object
    replacement["metadata"] = present["metadata"]
    try await commitOwn(
      Transaction(checks: [key: stored.revision], puts: [(key, resource.stored(replacement))]))
  }

  /// A transaction of the server's own; that somebody was faster is no failure.
  private func commitOwn(_ transaction: Transaction) async throws(APIStatus) {
    do throws(StoreError) {
      _ = try await store.commit(transaction)
    } catch {
      if case .conflict = error { return }
      throw status(error)
    }
  }
}
