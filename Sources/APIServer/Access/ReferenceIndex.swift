import JSON
package import ObjectStore
import Synchronization

/// Which Secrets and ConfigMaps the pods of a node refer to, so that a node that asks for one costs no parsing of every
/// pod: each pod is read once a version.
final class ReferenceIndex: Sendable {
  private struct Entry {
    let object: StoredObject
    let node: String
    let references: PodReferences
  }

  private let store: ObjectStore
  /// By namespace, then by key.
  private let known = Mutex<[String: [String: Entry]]>([:])

  /// Entries of pods that are gone are dropped once a namespace has this many more than pods.
  private static let strayMax = 64

  init(_ store: ObjectStore) { self.store = store }

  func refers(node: String, namespace: String, name: String, isSecret: Bool) -> Bool {
    anyPod(of: node, namespace) { $0.contains(name, isSecret: isSecret) }
  }

  func usesAccount(node: String, namespace: String, name: String) -> Bool {
    anyPod(of: node, namespace) { $0.account == name }
  }

  private func anyPod(of node: String, _ namespace: String, _ condition: (PodReferences) -> Bool) -> Bool {
    let pods = store.list(prefix: "/pods/\(namespace)/").objects
    return known.withLock { known in
      var entries = known.removeValue(forKey: namespace) ?? [:]
      var isFound = false
      for pod in pods {
        let entry: Entry
        if let same = entries[pod.key], same.object === pod {
          entry = same
        } else {
          // What cannot be read refers to nothing.
          let value = (try? JSONValue.parse(pod.value)) ?? .null
          entry = Entry(object: pod, node: value.text(at: "spec", "nodeName"), references: PodReferences(value))
          entries[pod.key] = entry
        }
        if entry.node == node, condition(entry.references) {
          isFound = true
          break
        }
      }
      if entries.count > pods.count + Self.strayMax {
        let keys = Set(pods.map(\.key))
        entries = entries.filter { keys.contains($0.key) }
      }
      if !entries.isEmpty { known[namespace] = entries }
      return isFound
    }
  }
}

extension ObjectReader {
  /// Reads the objects of a store. Memory only.
  package init(store: ObjectStore) {
    let index = ReferenceIndex(store)
    self.init(
      object: { key in store.get(key).flatMap { try? JSONValue.parse($0.value) } },
      objects: { prefix in store.list(prefix: prefix).objects.compactMap { try? JSONValue.parse($0.value) } })
    refers = { index.refers(node: $0, namespace: $1, name: $2, isSecret: $3) }
    usesAccount = { index.usesAccount(node: $0, namespace: $1, name: $2) }
  }
}
