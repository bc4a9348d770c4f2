"""What is said by hand about classes of dbt-tests-adapter: those that are not run by themselves, and why."""

ABSTRACT = {
    "caching.test_caching.BaseCachingTest": "has no models; run as BaseCachingLowercaseModel and BaseCachingUppercaseModel",
    "constraints.test_constraints.BaseConstraintsColumnsEqual": "has no models; run for tables, views and incremental models",
    "constraints.test_constraints.BaseContractSqlHeader": "has no models; run for tables and incremental models",
    "functions.test_udafs.UDAFBase": "has no functions; run as BasicSQLUDAF and BasicPythonUDAF",
    "utils.base_array_utils.BaseArrayUtils": "has no models; run as BaseArrayAppend, BaseArrayConcat and BaseArrayConstruct",
    "utils.base_utils.BaseUtils": "has no models; run as the classes of utils",
    "utils.data_types.base_data_type_macro.BaseDataTypeMacro": "has no models; run as the classes of utils.data_types",
    "utils.test_current_timestamp.BaseCurrentTimestamp": "run as BaseCurrentTimestampAware",
}
"""Bases that the suite itself makes classes of: the class, and what it is run as."""

_JAVASCRIPT = "DuckDB has no JavaScript; functions are written in SQL and Python"

NOT_APPLICABLE = {
    "functions.test_js_udfs.BasicJSUDF": _JAVASCRIPT,
    "functions.test_js_udfs.JSUDFMultiLineBody": _JAVASCRIPT,
    "functions.test_js_udfs.JSUDFDeterministicVolatility": _JAVASCRIPT,
    "functions.test_js_udfs.JSUDFNonDeterministicVolatility": _JAVASCRIPT,
    "functions.test_js_udfs.JSUDFStableVolatilityWarns": _JAVASCRIPT,
    "functions.test_js_udfs.JSUDFDefaultArgSupport": _JAVASCRIPT,
    "functions.test_js_udfs.BasicJSAggregateUDF": _JAVASCRIPT,
    "functions.test_js_udfs.JSAggregateUDFVolatilityIgnored": _JAVASCRIPT,
    "functions.test_udfs.PythonUDFNotSupported": "of adapters without functions in Python; run as PythonUDFSupported",
    "python_model.test_spark.BasePySparkTests": "models that make frames of Spark and Koalas, in the session of a Spark cluster",
    "utils.test_current_timestamp.BaseCurrentTimestampNaive": (
        "an adapter runs this one or BaseCurrentTimestampAware, and DuckDB's time has a zone"
    ),
    "utils.test_escape_single_quotes.BaseEscapeSingleQuotesBackslash": (
        "an adapter runs this one or BaseEscapeSingleQuotesQuote, and DuckDB doubles a quote, as standard SQL does"
    ),
}
"""Classes of what does not exist here: the class, and why."""

EACH_NODE = {
    "concurrency.test_concurrency.BaseConcurrency",
    "store_test_failures_tests.test_store_test_failures.BaseStoreTestFailures",
    "store_test_failures_tests.test_store_test_failures.BaseStoreTestFailuresLimit",
}
"""Classes whose profile says ``publish: each_node``, when all are run as they are too: they look at what a failed run made."""
