import JSON
import KubeModel
import Logging
import ObjectStore

extension APIServer {
  /// Puts back what every namespace that stays must have, after somebody deleted it.
  func restore(key: String) async {
    let parts = key.split(separator: "/").map(String.init)
    guard parts.count == 3,
      parts[0] == "configmaps" && parts[2] == Self.authorityConfigMap
        || parts[0] == "serviceaccounts" && parts[2] == "default",
      let namespace = store.get("/namespaces/\(parts[1])"),
      index.view(namespace, .of(group: "", resource: "namespaces")).fields["status.phase"] != "Terminating",
      let content = namespaceContents(parts[1], configuration.now()).first(where: { $0.key == key })
    else { return }
    do throws(StoreError) {
      _ = try await store.commit(Transaction(checks: [key: 0, namespace.key: namespace.revision], puts: [content]))
    } catch {
      if case .conflict(let at, _) = error {
        // Somebody made it meanwhile, which is as good; or else the namespace changed, perhaps to go.
        return at == key ? () : await restore(key: key)
      }
      logger.warning("restore(\(key)): \(error); create it by hand, or start the server again")
    }
  }
}
