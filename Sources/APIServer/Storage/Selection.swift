import JSON
import ObjectStore
import Synchronization

/// What selectors look at in one stored object.
final class SelectableView: Sendable {
  let revision: Int64
  let labels: [String: String]
  let fields: [String: String]

  init(_ object: StoredObject, _ strategy: Strategy) {
    revision = object.revision
    let document = (try? JSONValue.parse(object.value)) ?? .null
    labels = document["metadata"]?["labels"]?.stringMap ?? [:]
    fields = strategy.fields(of: document)
  }
}

/// The views of objects that selectors have asked for, kept beside the store's own memory.
final class SelectionIndex: Sendable {
  /// Views kept; beyond that all are forgotten and made anew as they are asked for.
  private static let viewsMax = 50_000

  private let views = Mutex<[String: SelectableView]>([:])

  func view(_ object: StoredObject, _ strategy: Strategy) -> SelectableView {
    if let known = views.withLock({ $0[object.key] }), known.revision == object.revision { return known }
    let view = SelectableView(object, strategy)
    views.withLock { views in
      if views.count >= Self.viewsMax { views.removeAll(keepingCapacity: true) }
      // A view of the past must not take the place of the present one.
      if let known = views[object.key], known.revision > view.revision { return }
      views[object.key] = view
    }
    return view
  }

  func forget(_ key: String) { _ = views.withLock { $0.removeValue(forKey: key) } }
}

/// What of a resource a request is for.
struct Selection: Sendable {
  let labels: LabelQuery
  let fields: FieldSelector
  let strategy: Strategy
  let index: SelectionIndex
  /// Nil: no field selector names one.
  let name: String?

  /// - Throws: `BadRequest` for a field that cannot be selected by.
  init(_ options: ListOptions, _ resource: ServedResource, _ index: SelectionIndex) throws(APIStatus) {
    try resource.strategy.check(options.fields)
    labels = options.labels
    fields = options.fields
    strategy = resource.strategy
    self.index = index
    name = options.fields.onlyName
  }

  var isEverything: Bool { labels.isEmpty && fields.isEmpty }

  func matches(_ object: StoredObject) -> Bool {
    if isEverything { return true }
    if let name, !object.key.hasSuffix("/\(name)") { return false }
    let view = index.view(object, strategy)
    return labels.matches(view.labels) && fields.matches(view.fields)
  }
}
