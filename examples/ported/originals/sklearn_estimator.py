from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    pipeline = make_pipeline(MinMaxScaler(), MLPClassifier(max_iter=3, random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__learning_rate_init": [1e-4, 3e-3]}, cv=2)
    search.fit(X_train[:600], y_train[:600])
    print("best:", search.best_params_)
    model = pipeline.set_params(**search.best_params_, mlpclassifier__max_iter=8).fit(X_train, y_train)
    print(f"accuracy {model.score(X_test, y_test):.3f}")
