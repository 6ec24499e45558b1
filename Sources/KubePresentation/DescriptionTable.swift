/// A line for each type (`Pod`) or field (`PodSpec.nodeName`, or `*.kind` for any type), a tab, and what it means.
enum DescriptionTable {
  static let lines: String = """
    *.apiVersion\tThe version of the schema that this object is written in.
    *.kind\tWhat kind of object this is.
    """
}
