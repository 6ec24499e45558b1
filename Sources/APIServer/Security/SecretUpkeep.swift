import JSON
import Logging
import ObjectStore
import PKI

/// What the server does with Secrets that are tokens: it fills those of service accounts, removes them with their account,
/// and removes bootstrap tokens after their time.
///
/// https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets
extension APIServer {
  static let accountToken = "kubernetes.io/service-account-token"
  private static let accountName = "kubernetes.io/service-account.name"
  private static let accountUID = "kubernetes.io/service-account.uid"
  /// Between two looks for bootstrap tokens whose time is over, which is no event.
  private static let expiryLookSeconds = 30.0
  /// After a watch that fell behind.
  private static let retrySeconds = 1.0

  /// Until it is cancelled.
  package func keepSecrets() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for folder in ["/secrets/", "/serviceaccounts/"] {
        group.addTask { [self] in
          try await follow(folder) { key, isGone in
            folder == "/secrets/" ? await fillSecret(key) : isGone ? await forgetAccount(key) : ()
          }
        }
      }
      group.addTask { [self] in try await follow(Self.clusterRoleFolder) { _, _ in await gatherRules() } }
      group.addTask { [self] in
        while true {
          await removeExpiredBootstrapTokens()
          try await Task.sleep(for: .seconds(Self.expiryLookSeconds))
        }
      }
      try await group.waitForAll()
    }
  }

  /// Calls `body` for every object of a folder, and for each that changes.
  private func follow(
    _ folder: String, _ body: @Sendable (_ key: String, _ isGone: Bool) async -> Void
  ) async throws {
    while true {
      do {
        let listing = store.list(prefix: folder)
        let watch = try store.watch(prefix: folder, after: listing.revision)
        for object in listing.objects { await body(object.key, false) }
        while let batch = try await watch.next() {
          for event in batch.events { await body(event.object.key, event.kind == .delete) }
        }
        throw CancellationError()
      } catch let error as StoreError {
        // Closed: the end. Fallen behind: what there is tells it all.
        if case .closed = error { return }
        logger.debug("watch \(folder): \(error)")
        try await Task.sleep(for: .seconds(Self.retrySeconds))
      }
    }
  }

  // MARK: tokens of service accounts

  /// Gives a Secret of the type its token, the authority and the namespace; removes one whose account is not there.
  func fillSecret(_ key: String) async {
    guard let stored = store.get(key), var secret = (try? JSONValue.parse(stored.value))?.object,
      secret.text("type") == Self.accountToken,
      let secrets = resources.resource(apiVersion: "v1", plural: "secrets")
    else { return }
    let metadata = ObjectMetadata(secret)
    guard metadata.deletionTimestamp == nil else { return }
    let annotations = metadata.object["annotations"]?.stringMap ?? [:]
    let name = annotations[Self.accountName] ?? ""
    let account = store.get("/serviceaccounts/\(metadata.namespace)/\(name)")
      .flatMap { try? JSONValue.parse($0.value) }
    let uid = account?.text("metadata", "uid") ?? ""
    let claimed = annotations[Self.accountUID] ?? ""
    guard account != nil, claimed.isEmpty || claimed == uid else {
      await commitUpkeep(Transaction(checks: [key: stored.revision], deletes: [key]), key)
      return
    }
    var data = secret[object: "data"]
    let authority = Base64.standard(Array(configuration.authorityPEM.utf8))
    let namespace = Base64.standard(Array(metadata.namespace.utf8))
    if !data.text("token").isEmpty, data.text("ca.crt") == authority, data.text("namespace") == namespace,
      claimed == uid
    {
      return
    }
    do throws(PKIError) {
      if data.text("token").isEmpty {
        let token = try access.tokens.secretToken(
          namespace: metadata.namespace, account: name, uid: uid, secret: metadata.name)
        data["token"] = .string(Base64.standard(Array(token.utf8)))
      }
    } catch {
      logger.error("token of secret \(key): \(error)")
      return
    }
    data["ca.crt"] = .string(authority)
    data["namespace"] = .string(namespace)
    secret["data"] = .object(data)
    secret[object: "metadata"][object: "annotations"][Self.accountUID] = .string(uid)
    await commitUpkeep(
      Transaction(checks: [key: stored.revision], puts: [(key, secrets.stored(secret))]), key)
  }

  private func forgetAccount(_ key: String) async {
    let namespace = key.split(separator: "/").dropFirst().first ?? ""
    for object in store.list(prefix: "/secrets/\(namespace)/").objects {
      // Whether its account is there is seen anew for each that is of the type.
      await fillSecret(object.key)
    }
  }

  /// A change of the server's own; one that somebody else was faster with is looked at when that is told.
  private func commitUpkeep(_ transaction: Transaction, _ key: String) async {
    do throws(StoreError) {
      _ = try await store.commit(transaction)
      if !transaction.deletes.isEmpty { index.forget(key) }
    } catch {
      if case .conflict = error { return }
      logger.warning("\(key): \(error)")
    }
  }

  // MARK: bootstrap tokens

  func removeExpiredBootstrapTokens() async {
    let now = configuration.now()
    for object in store.list(prefix: "/secrets/kube-system/bootstrap-token-").objects {
      guard let secret = try? JSONValue.parse(object.value), secret.text("type") == BootstrapToken.secretType,
        let bytes = Base64Bytes.decoded(secret.text("data", "expiration")), !bytes.isEmpty,
        let end = ObjectNames.seconds(String(decoding: bytes, as: UTF8.self)), end <= now
      else { continue }
      await commitUpkeep(Transaction(checks: [object.key: object.revision], deletes: [object.key]), object.key)
      logger.info("bootstrap token \(object.key) has expired and was removed")
    }
  }

  // MARK: roles that gather rules

  private static let clusterRoleFolder = "/clusterroles.\(RoleIndex.group)/"

  /// Gives each ClusterRole with an aggregation rule the rules of those that it selects.
  func gatherRules() async {
    guard let resource = resources.resource(apiVersion: "\(RoleIndex.group)/v1", plural: "clusterroles") else { return }
    let stored = store.list(prefix: Self.clusterRoleFolder).objects
    var roles: [(object: StoredObject, document: JSONObject)] = []
    for object in stored {
      guard let document = (try? JSONValue.parse(object.value))?.object else { continue }
      roles.append((object, document))
    }
    for (object, document) in roles {
      guard let selectors = document["aggregationRule"]?["clusterRoleSelectors"]?.array else { continue }
      let rules = Self.gathered(selectors, roles.filter { $0.object.key != object.key }.map(\.document))
      guard rules != document["rules"]?.array ?? [] else { continue }
      var changed = document
      changed["rules"] = .array(rules)
      await commitUpkeep(
        Transaction(checks: [object.key: object.revision], puts: [(object.key, resource.stored(changed))]), object.key)
    }
  }

  /// The rules of the roles that one of the selectors selects, by the roles' names, each once.
  static func gathered(_ selectors: [JSONValue], _ roles: [JSONObject]) -> [JSONValue] {
    var rules: [JSONValue] = []
    var seen: Set<JSONValue> = []
    for role in roles.sorted(by: { ObjectMetadata($0).name < ObjectMetadata($1).name })
    where selectors.contains(where: { selects($0, ObjectMetadata(role).labels) }) {
      for rule in role["rules"]?.array ?? [] where seen.insert(rule).inserted { rules.append(rule) }
    }
    return rules
  }

  private static func selects(_ selector: JSONValue, _ labels: [String: String]) -> Bool {
    for (key, value) in selector["matchLabels"]?.stringMap ?? [:] where labels[key] != value { return false }
    for expression in selector["matchExpressions"]?.array ?? [] {
      let value = labels[expression.text("key")]
      let values = (expression["values"]?.array ?? []).compactMap(\.string)
      switch expression.text("operator") {
      case "In": guard let value, values.contains(value) else { return false }
      case "NotIn": if let value, values.contains(value) { return false }
      case "Exists": if value == nil { return false }
      case "DoesNotExist": if value != nil { return false }
      default: return false
      }
    }
    return true
  }
}
